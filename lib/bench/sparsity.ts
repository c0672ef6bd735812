/** What activation sparsity did in a generation test: one more run of it, whose sparse rows are counted. */
import type { Model } from "../engine/index.js";
import { measureLutra } from "./streams.js";
import type { BenchTest } from "./tests.js";

export interface BenchSparsity {
  /** Share of the channels that was kept where channels are skipped, over all streams. */
  realised_kept: number;
  /** Of layer weights, that a token needs by itself. */
  bytes_per_token: number;
  /** Time of choosing channels ÷ time of the native steps. */
  selection_share: number;
}

/** Null when no row was sparse. */
export async function measureSparsity(
  model: Model,
  test: BenchTest,
  round: number,
  signal: AbortSignal,
): Promise<BenchSparsity | null> {
  let reset: Promise<unknown> | undefined;
  const onBegin = () => {
    reset = Promise.all([model.sparsityTotals(true), model.profile(true)]);
    reset.catch(() => {});
  };
  const { sparsity } = await measureLutra(model, test, round, { signal, onBegin });
  await reset;
  const [{ selectNs, rows }, times] = await Promise.all([model.sparsityTotals(false), model.profile(false)]);
  const stepNs = times.find(({ op }) => op === "step")?.ns ?? 0;
  if (sparsity === undefined || rows === 0 || stepNs <= 0) return null;
  const { kept, bytesPerToken } = sparsity;
  return { realised_kept: kept, bytes_per_token: bytesPerToken, selection_share: selectNs / stepNs };
}
