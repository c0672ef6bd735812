/** Where the time of a step goes: the engine's own counters per operator, and what is left for TypeScript. */
import type { Model } from "../engine/index.js";
import { measureLutra, type Sample } from "./streams.js";
import type { BenchTest } from "./tests.js";

type OperatorTimes = Awaited<ReturnType<Model["profile"]>>;

export interface OperatorShare {
  op: string;
  calls_per_step: number;
  us_per_step: number;
  /** Of the native step. */
  share: number;
}

export interface BenchProfile {
  steps: number;
  /** A native step. */
  step_us: number;
  /** 1 − native time ÷ time of the same steps as the caller sees it; null where the caller's steps are not known. */
  js_share: number | null;
  /** By descending share. */
  operators: OperatorShare[];
}

/**
 * One more run of a test, of whose measured part the operators are timed. A prompt at a depth is profiled with its prefix:
 * the step in which the one ends and the other begins is not to be cut.
 */
export async function profileLutra(
  model: Model,
  test: BenchTest,
  round: number,
  signal: AbortSignal,
): Promise<BenchProfile | null> {
  let reset: Promise<unknown> | undefined;
  const onBegin = () => {
    reset = model.profile(true);
    reset.catch(() => {});
  };
  const { kind, n, depth } = test;
  const whole = kind === "pp" ? { ...test, n: n + depth, depth: 0 } : test;
  const sample = await measureLutra(model, whole, round, { signal, onBegin });
  await reset;
  return summarizeProfile(await model.profile(false), sample);
}

/** Null when no step ran. */
export function summarizeProfile(times: OperatorTimes, sample: Sample): BenchProfile | null {
  const whole = times.find(({ op }) => op === "step");
  if (whole === undefined || whole.calls === 0 || whole.ns <= 0) return null;
  const steps = whole.calls;
  const stepNs = whole.ns / steps;
  const operators = times
    .filter(({ op, calls }) => op !== "step" && calls > 0)
    .map(({ op, calls, ns }) => ({
      op,
      calls_per_step: calls / steps,
      us_per_step: ns / steps / 1000,
      share: ns / whole.ns,
    }))
    .sort((a, b) => b.share - a.share);
  const jsShare = sample.steps === null ? null : 1 - stepNs / 1e6 / (sample.ms / sample.steps);
  return { steps, step_us: stepNs / 1000, js_share: jsShare, operators };
}
