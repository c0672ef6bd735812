/** Decode after ever more tokens of context, natively; one prompt serves all depths and rounds. */
import { summarize } from "../compare/samples.mjs";
import { NativeLoop, someTokens } from "./native-loop.mjs";

export const title = "Decode at a depth";
export const columns = ["depth", "tokens/s", "ms", "t(depth) / t(0)"];

export async function measure({ path, threads, isa, rounds, steps, depths }) {
  const native = new NativeLoop(path, { threads, isa, positions: Math.max(...depths) + steps });
  const ids = someTokens(native.info.vocabSize, Math.max(...depths, 8));
  native.prompt(ids);
  const times = new Map(depths.map((depth) => [depth, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const depth of round % 2 === 0 ? depths : [...depths].reverse()) {
      const ms = native.decode(ids[0], depth, steps);
      if (round > 0) times.get(depth).push(ms);
    }
  }
  native.release();
  const first = times.get(Math.min(...depths));
  return depths.map((depth) => ({
    depth,
    ms: summarize(times.get(depth)),
    ratio: summarize(times.get(depth).map((ms, round) => ms / first[round])),
  }));
}

export const toCells = ({ depth, ms, ratio }) => [
  depth,
  (1000 / ms.median).toFixed(1),
  ms.median.toFixed(2),
  ratio.median.toFixed(2),
];
