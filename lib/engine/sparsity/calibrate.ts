/** calibrateSparsity(): what a text says of a model's activation sparsity, in a file; and that file, read for a load. */
import {
  builtinText,
  defaultSparsityPath,
  type ExpectedSparsity,
  readSparsity,
  type SparsityMethod,
  writeSparsity,
} from "../../calibration/index.js";
import { createError, invalidOption } from "../../errors.js";
import { type FileStamp, fingerprint, stampFile } from "../../files/index.js";
import { limits } from "../../limits.js";
import { resolveModel } from "../../models/index.js";
import { readKeys, readOptions } from "../../sampling/index.js";
import type { CalibrateSparsityOptions, CalibrateSparsityResult } from "../../types.js";
import { masksOf, type ResolvedSparsity, type SparsityPlan } from "../../worker/index.js";
import { checkInteger, resolveLoadOptions } from "../load-options.js";
import { Replicas } from "../replicas.js";
import { resolveSparsity } from "./option.js";

const names = [
  "ffnSparsity",
  "text",
  "maxTokens",
  "file",
  "threads",
  "isa",
  "onLoadProgress",
  "onPullProgress",
  "offline",
  "signal",
] as const satisfies readonly (keyof CalibrateSparsityOptions)[];

/** The engine that serves nobody needs no room. */
const idleContext = 64;

/**
 * Runs a text through a model (a name, a path or hf:user/repo:file), tries out which channels its layers can do without, and
 * writes what it found, for `ffnSparsity.calibration`.
 * @throws InvalidOptionError, OutputFileError, and what loadModel() throws
 */
export async function calibrateSparsity(
  source: string,
  options: CalibrateSparsityOptions,
): Promise<CalibrateSparsityResult> {
  const started = performance.now();
  const { ffnSparsity, text = builtinText, maxTokens, file, ...rest } = readOptions(options, names);
  const method = checkMethod(ffnSparsity);
  if (typeof text !== "string") throw invalidOption("text", "a string", text);
  const { leastSparsityTokens: least, defaultSparsityTokens, maxSparsityTokens: most } = limits;
  const tokens = checkInteger("maxTokens", maxTokens, least, most) ?? defaultSparsityTokens;
  const target = checkFile(file);
  const { onLoadProgress, onPullProgress, offline, signal, ...engine } = resolveLoadOptions(rest);
  const path = await resolveModel(source, { offline, onPullProgress, signal });
  const stamp = await stampFile(path);
  // One pass over a text is no reason to measure products.
  const matmul = engine.matmul.type === "auto" ? ({ type: "dot" } as const) : engine.matmul;
  const small = { contextSize: idleContext, maxSequences: 1, speculation: undefined, attention: undefined, matmul };
  const sparsityTrial = { method, text, maxTokens: tokens };
  const engines = await Replicas.start({ task: { ...engine, ...small, sparsityTrial, path }, onLoadProgress, signal });
  const report = engines.loaded.sparsityReport;
  await engines.stop(createError("DISPOSED", "the calibration is made"));
  if (report === undefined) throw createError("INTERNAL", "calibrateSparsity: the engine made no calibration");
  const expected = await expectedOf(method, { path, stamp });
  const written = target ?? defaultSparsityPath(expected);
  await writeSparsity(written, { ...expected, ...report });
  return { file: written, tokens: report.tokens, ms: performance.now() - started };
}

/** What engines are told: with the tables of the calibration, where one is named. @throws InvalidOptionError, ModelFileError */
export async function readCalibration(
  asked: ResolvedSparsity,
  model: { path: string; stamp: FileStamp | null },
  option = "ffnSparsity",
): Promise<SparsityPlan> {
  if (asked.calibration === undefined) return asked;
  const { quantiles, allocation } = await readSparsity(asked.calibration, await expectedOf(asked, model), option);
  return { ...asked, tables: { quantiles, allocation } };
}

async function expectedOf(
  asked: ResolvedSparsity,
  { path, stamp }: { path: string; stamp: FileStamp | null },
): Promise<ExpectedSparsity> {
  const { type, attention = false, norms = "none" } = asked;
  const method: SparsityMethod = { type, attention, norms, masked: masksOf(asked) };
  return { fingerprint: await fingerprint(path, stamp), method };
}

/** The method at shares of one half, which a calibration does not look at. */
function checkMethod(given: unknown): ResolvedSparsity {
  const example = '{ type: "teal", attention: true }';
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw invalidOption("ffnSparsity", example, given);
  const known = ["type", "attention", "norms"];
  const other = readKeys(given, "ffnSparsity").find((key) => !known.includes(key));
  if (other !== undefined) {
    const message = `ffnSparsity.${other} is not an option of a calibration; known: ${known.join(", ")}`;
    throw createError("INVALID_OPTION", message);
  }
  const method = resolveSparsity({ ...given, keep: 0.5 }) as ResolvedSparsity;
  if (method.type !== "coreinfer" && method.type !== "random") return { ...method, allocation: "uniform" };
  throw invalidOption("ffnSparsity.type", "one that ranks a token's channels by scores", method.type);
}

function checkFile(value: unknown): string | undefined {
  if (value === undefined || (typeof value === "string" && value !== "" && !value.includes("\0"))) return value;
  throw invalidOption("file", "a path", value);
}
