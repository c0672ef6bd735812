/** quantizeModel(): a model file with its matrices in another type, written by a thread of its own. */
import { resolve } from "node:path";
import { getBinding } from "../binding/index.js";
import { checkFlag, checkFunction, checkInteger, checkSignal } from "../engine/index.js";
import { createError, describeValue, invalidOption, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import { resolveModel } from "../models/index.js";
import { readOptions } from "../sampling/index.js";
import { runOnThread } from "../worker/index.js";
import type { QuantizeOptions, QuantizeResult } from "./options.js";
import { checkOutput } from "./output-file.js";
import { type Plan, planTypes } from "./plan.js";
import { checkTargetType } from "./target-types.js";
import type { ConversionReply, ConversionTask } from "./thread-task.js";

const names = [
  "type",
  "outputType",
  "embeddingType",
  "overwrite",
  "threads",
  "onProgress",
  "onPullProgress",
  "offline",
  "signal",
] as const satisfies readonly (keyof QuantizeOptions)[];

const progressMs = 100;

/**
 * Reads a model (a name, a path or hf:user/repo:file) and writes it to `output` with its matrices in `options.type`. Under
 * the name of `output` there is nothing, or the old file, until the new one is whole.
 * @throws InvalidOptionError, ModelFileError, UnsupportedModelError, OutputFileError, PullError, AbortedError
 */
export async function quantizeModel(source: string, output: string, options: QuantizeOptions): Promise<QuantizeResult> {
  const started = performance.now();
  const checked = checkOptions(options);
  const { onPullProgress, offline, signal } = checked;
  if (typeof output !== "string" || output === "" || output.includes("\0"))
    throw invalidOption("output", "a path", output);
  checkAborted(signal);
  const path = await resolveModel(source, { offline, onPullProgress, signal });
  const file = getBinding().inspectFile(path);
  const plan = planTypes(file, checked);
  const target = resolve(output);
  await checkOutput(target, file.paths, checked.overwrite);
  checkAborted(signal);
  const { sizeBytes, errors } = await convert(plan, { source: path, output: target, ...checked });
  return {
    file: target,
    type: checked.type,
    sourceBytes: file.sizeBytes,
    sizeBytes,
    tensors: plan.tensors.map(({ elements: _, ...tensor }, i) => ({ ...tensor, error: errors[i] as number })),
    warnings: plan.warnings,
    ms: performance.now() - started,
  };
}

function checkOptions(options: unknown) {
  const given = readOptions(options, names);
  const optional = (name: "outputType" | "embeddingType") =>
    given[name] === undefined ? undefined : checkTargetType(name, given[name]);
  return {
    type: checkTargetType("type", given["type"]),
    outputType: optional("outputType"),
    embeddingType: optional("embeddingType"),
    overwrite: checkFlag("overwrite", given["overwrite"]) ?? false,
    threads: checkInteger("threads", given["threads"], 1, limits.maxThreads) ?? getBinding().cpu().threads,
    onProgress: checkFunction<NonNullable<QuantizeOptions["onProgress"]>>("onProgress", given["onProgress"]),
    onPullProgress: checkFunction<NonNullable<QuantizeOptions["onPullProgress"]>>(
      "onPullProgress",
      given["onPullProgress"],
    ),
    offline: checkFlag("offline", given["offline"]),
    signal: checkSignal(given["signal"]),
  };
}

type Conversion = Pick<ConversionTask, "source" | "output" | "threads"> &
  Pick<QuantizeOptions, "onProgress" | "signal">;

/** Settles when the thread has ended: then there is the whole new file, or nothing of it. */
async function convert(plan: Plan, { source, output, threads, onProgress, signal }: Conversion) {
  const elements = plan.tensors.map((tensor) => tensor.elements);
  const total = elements.reduce((sum, each) => sum + each, 0);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const progress = new Float64Array(new SharedArrayBuffer(8));
  let failure: LutraError | undefined;
  const end = (reason: LutraError): void => {
    failure ??= reason;
    Atomics.store(stop, 0, 1);
  };
  const onAbort = (): void => end(aborted(signal));
  const report = (): void => {
    if (failure !== undefined) return;
    try {
      onProgress?.({ doneWeights: progress[0] as number, totalWeights: total });
    } catch (thrown) {
      const what = thrown instanceof Error ? thrown.message : describeValue(thrown);
      end(createError("CALLBACK_FAILED", `onProgress threw ${what}`, { cause: thrown }));
    }
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = onProgress && setInterval(report, progressMs);
  try {
    const { types, fileType } = plan;
    const reply = await runTask({ source, output, types, elements, fileType, threads, stop, progress });
    // The file is there, whoever wanted it to stop a moment too late.
    report();
    if (!reply.ok) throw failure ?? createError(reply.error.code, reply.error.message);
    return reply;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

async function runTask(task: ConversionTask): Promise<ConversionReply> {
  try {
    return (await runOnThread("../quantization/thread-task.js", task)) as ConversionReply;
  } catch (thrown) {
    throw createError("WORKER_LOST", `the thread that quantises ended: ${toLutraError(thrown).message}; try again`);
  }
}

function aborted(signal: AbortSignal | undefined): LutraError {
  return createError("ABORTED", "the quantisation was aborted by its signal", { cause: signal?.reason });
}

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}
