/** calibrate(): codebooks of a model from the caller's own text, written to a file that loading finds. */
import { defaultCodebookPath, writeCodebooks } from "../../calibration/index.js";
import { createError, invalidOption } from "../../errors.js";
import { fingerprint, stampFile } from "../../files/index.js";
import { resolveModel } from "../../models/index.js";
import { readOptions } from "../../sampling/index.js";
import type { CalibrateOptions, CalibrateResult } from "../../types.js";
import { resolveLoadOptions } from "../load-options.js";
import { Replicas } from "../replicas.js";
import { attentionPlan } from "./codebooks.js";
import { checkOutliers, checkSubvector, type ResolvedAttention, resolveAttention } from "./option.js";

const names = [
  "text",
  "dSub",
  "outliers",
  "file",
  "contextSize",
  "threads",
  "isa",
  "onLoadProgress",
  "onPullProgress",
  "offline",
  "signal",
] as const satisfies readonly (keyof CalibrateOptions)[];

/** The engine that tries the codebooks needs no room. */
const trialContext = 64;

/**
 * Runs a text through a model (a name, a path or hf:user/repo:file) and writes the codebooks of its keys.
 * @throws InvalidOptionError, CodebookFileError, and what loadModel() throws
 */
export async function calibrate(source: string, options: CalibrateOptions): Promise<CalibrateResult> {
  const started = performance.now();
  const { text, dSub: givenDSub, outliers: givenOutliers, file: givenFile, ...rest } = readOptions(options, names);
  const file = checkFile(givenFile);
  const attention = resolveAttention("nomad") as ResolvedAttention;
  const dSub = givenDSub === undefined ? attention.dSub : checkSubvector(givenDSub, "dSub");
  const outliers = givenOutliers === undefined ? attention.outliers : checkOutliers(givenOutliers, "outliers");
  if (typeof text !== "string") throw invalidOption("text", "a string", text);
  const { onLoadProgress, onPullProgress, offline, signal, contextSize, ...engine } = resolveLoadOptions(rest);
  const path = await resolveModel(source, { offline, onPullProgress, signal });
  const stamp = await stampFile(path);
  const plan = attentionPlan({ ...attention, dSub, outliers }, { text, maxTokens: 0, contextSize });
  // One pass over a text is no reason to measure products.
  const matmul = engine.matmul.type === "auto" ? ({ type: "dot" } as const) : engine.matmul;
  const small = { contextSize: trialContext, maxSequences: 1, speculation: undefined, matmul };
  const engines = await Replicas.start({
    task: { ...engine, ...small, attention: plan, path },
    onLoadProgress,
    signal,
  });
  const state = engines.loaded.attention;
  await engines.stop(createError("DISPOSED", "the codebooks are made"));
  if (state?.failure !== undefined) throw createError(state.failure.code, state.failure.message);
  const { codebooks, ...training } = state?.made ?? unmade();
  const identity = { fingerprint: await fingerprint(path, stamp), parameters: { dSub, outliers } };
  const target = file ?? defaultCodebookPath(identity);
  await writeCodebooks(target, { ...identity, training, codebooks });
  const { tokens, contextSize: used } = training;
  return { file: target, dSub, outliers, tokens, contextSize: used, ms: performance.now() - started };
}

function checkFile(value: unknown): string | undefined {
  if (value === undefined || (typeof value === "string" && value !== "" && !value.includes("\0"))) return value;
  throw invalidOption("file", "a path", value);
}

function unmade(): never {
  throw createError("INTERNAL", "calibrate: the engine made no codebooks");
}
