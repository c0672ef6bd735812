/**
 * Lutra under measurement: the streams of a test as concurrent requests on one model, timed where a caller stands.
 *
 * A moment is a time and the number of steps the engine had run by then, read together. Prompts take from the submission
 * to the moment the last of them is evaluated. Generation is counted from that moment to the end of the first stream: in
 * between every step gives one token to every stream.
 */
import type { Model } from "../engine/index.js";
import { createError } from "../errors.js";
import { type BenchTest, generatedLength, streamPrompts } from "./tests.js";

/** One run of a test. */
export interface Sample {
  tokens: number;
  ms: number;
  /** Steps of the engine in that time; null where that is not known. */
  steps: number | null;
}

export interface MeasureOptions {
  signal: AbortSignal;
  /** The measured part begins. */
  onBegin?: () => void;
}

interface Moment {
  ms: number;
  steps: number;
}

interface StreamsRun {
  submitted: Moment;
  prompted: Moment;
  firstEnd: Moment;
}

export async function measureLutra(
  model: Model,
  test: BenchTest,
  round: number,
  options: MeasureOptions,
): Promise<Sample> {
  const prompts = streamPrompts(test, model.info.vocabSize, round);
  if (test.kind === "tg") {
    const run = await runStreams(model, prompts, generatedLength(test), options, Number.POSITIVE_INFINITY);
    const steps = run.firstEnd.steps - run.prompted.steps;
    if (steps < 1)
      throw createError("INVALID_OPTION", `-n: ${test.n} tokens are over too soon to be timed; measure more`);
    return { tokens: test.batch * steps, ms: run.firstEnd.ms - run.prompted.ms, steps };
  }
  const { signal } = options;
  const prefixes = prompts.map((prompt) => prompt.slice(0, test.depth));
  const before =
    test.depth > 0
      ? await runStreams(model, prefixes, 1, { signal }, 0)
      : { submitted: now(model), prompted: now(model) };
  const run = await runStreams(model, prompts, 1, options, test.depth * test.batch);
  const span = (of: "ms" | "steps", { submitted, prompted }: Omit<StreamsRun, "firstEnd">) =>
    prompted[of] - submitted[of];
  const ms = span("ms", run) - span("ms", before);
  return {
    tokens: test.batch * test.n,
    ms: Math.max(ms, 1e-3),
    steps: test.depth > 0 ? null : span("steps", run),
  };
}

/** `prefix`: prompt tokens (of all streams) after which the measured part begins; infinite: after all of them. */
async function runStreams(
  model: Model,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
  { signal, onBegin }: MeasureOptions,
  prefix: number,
): Promise<StreamsRun> {
  const total = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const processed = prompts.map(() => 0);
  let begun = false;
  let prompted: Moment | undefined;
  const begin = () => {
    if (!begun) onBegin?.();
    begun = true;
  };
  const progress = (stream: number, processedTokens: number) => {
    processed[stream] = processedTokens;
    const done = processed.reduce((sum, tokens) => sum + tokens, 0);
    if (done === total) prompted = now(model);
    if (done >= Math.min(prefix, total)) begin();
  };
  if (prefix === 0) begin();
  const submitted = now(model);
  const streams = prompts.map((prompt, stream) =>
    model.generate(prompt, {
      maxTokens,
      temperature: 0,
      ignoreEos: true,
      signal,
      onPromptProgress: ({ processedTokens }) => progress(stream, processedTokens),
    }),
  );
  try {
    await Promise.race(streams);
    const firstEnd = now(model);
    await Promise.all(streams);
    if (prompted === undefined) throw createError("INTERNAL", "a prompt ended without its progress");
    return { submitted, prompted, firstEnd };
  } finally {
    await Promise.allSettled(streams);
  }
}

function now(model: Model): Moment {
  return { ms: performance.now(), steps: model.metrics().steps };
}
