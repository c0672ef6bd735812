/**
 * Lutra under measurement: the streams of a test as concurrent requests on one model, timed where a caller stands.
 *
 * A moment is a time and the number of steps the engine had run by then, read together. Prompts take from the submission
 * to the moment the last of them is evaluated. Generation is counted from that moment to the end of the first stream: in
 * between every step gives one token to every stream.
 */
import type { Model } from "../engine/index.js";
import { createError } from "../errors.js";
import type { SparsityStats } from "../types.js";
import { type BenchTest, generatedLength, streamPrompts } from "./tests.js";

/** One run of a test. */
export interface Sample {
  tokens: number;
  ms: number;
  /** Steps of the engine in that time; null where that is not known. */
  steps: number | null;
  /** Means over the streams, of a generation test whose layers skip channels. */
  sparsity?: SparsityStats | undefined;
}

export interface MeasureOptions {
  signal: AbortSignal;
  /** The measured part begins, or its first step has just begun. */
  onBegin?: () => void;
}

/** On a busy machine this thread may hear of a prompt's end only when a fast model's few tokens are over as well. */
const attempts = 8;

interface Moment {
  ms: number;
  steps: number;
}

interface StreamsRun {
  submitted: Moment;
  prompted: Moment;
  firstEnd: Moment;
  sparsity: SparsityStats | undefined;
}

export async function measureLutra(
  model: Model,
  test: BenchTest,
  round: number,
  { signal, onBegin }: MeasureOptions,
): Promise<Sample> {
  const prompts = streamPrompts(test, model.info.vocabSize, round);
  if (test.kind === "tg") {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const run = await runStreams(model, prompts, generatedLength(test), { signal, onBegin });
      const steps = run.firstEnd.steps - run.prompted.steps;
      const ms = run.firstEnd.ms - run.prompted.ms;
      if (steps >= 1) return { tokens: test.batch * steps, ms, steps, sparsity: run.sparsity };
    }
    throw createError("INVALID_OPTION", `-n: ${test.n} tokens are over too soon to be timed; measure more`);
  }
  const prefixes = prompts.map((prompt) => prompt.slice(0, test.depth));
  const prefixMs = test.depth > 0 ? promptSpan(await runStreams(model, prefixes, 1, { signal })).ms : 0;
  onBegin?.();
  const { ms, steps } = promptSpan(await runStreams(model, prompts, 1, { signal }));
  return {
    tokens: test.batch * test.n,
    ms: Math.max(ms - prefixMs, 1e-3),
    steps: test.depth > 0 ? null : steps,
  };
}

function promptSpan({ submitted, prompted }: StreamsRun): Moment {
  return { ms: prompted.ms - submitted.ms, steps: prompted.steps - submitted.steps };
}

/** `onBegin`: all prompts are evaluated. */
async function runStreams(
  model: Model,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
  { signal, onBegin }: MeasureOptions,
): Promise<StreamsRun> {
  let left = prompts.length;
  let prompted: Moment | undefined;
  const onPromptProgress = ({ processedTokens, totalTokens }: { processedTokens: number; totalTokens: number }) => {
    if (processedTokens < totalTokens || --left > 0) return;
    prompted = now(model);
    onBegin?.();
  };
  const submitted = now(model);
  const options = { maxTokens, temperature: 0, ignoreEos: true, signal, onPromptProgress };
  const streams = prompts.map((prompt) => model.generate(prompt, options));
  try {
    await Promise.race(streams);
    const firstEnd = now(model);
    const results = await Promise.all(streams);
    if (prompted === undefined) throw createError("INTERNAL", "a prompt ended without its progress");
    return { submitted, prompted, firstEnd, sparsity: meanOf(results.flatMap(({ sparsity }) => sparsity ?? [])) };
  } finally {
    await Promise.allSettled(streams);
  }
}

/** The streams are equally long, but for what the first generate while others' prompts run. */
function meanOf(stats: readonly SparsityStats[]): SparsityStats | undefined {
  if (stats.length === 0) return undefined;
  const mean = (read: (each: SparsityStats) => number): number =>
    stats.reduce((sum, each) => sum + read(each), 0) / stats.length;
  return {
    kept: mean(({ kept }) => kept),
    bytesPerToken: mean(({ bytesPerToken }) => bytesPerToken),
    denseTokens: mean(({ denseTokens }) => denseTokens),
    guarded: mean(({ guarded }) => guarded),
  };
}

function now(model: Model): Moment {
  return { ms: performance.now(), steps: model.metrics().steps };
}
