/** Load options, checked: unknown names are refused, every default is filled in. */
import { getBinding, type Isa } from "../binding/index.js";
import type { KvCacheType } from "../binding/native.js";
import { invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import { readOptions } from "../sampling/index.js";
import type { LoadOptions, MatmulInfo } from "../types.js";
import type { ResolvedSparsity } from "../worker/index.js";
import { type ResolvedSpeculation, resolveSpeculation } from "./speculation-option.js";
import { type ResolvedAttention, resolveAttention } from "./attention/option.js";
import { resolveMatmul } from "./matmul/option.js";
import { resolveSparsity } from "./sparsity/option.js";

const names = [
  "threads",
  "contextSize",
  "maxSequences",
  "kvCacheTokens",
  "replicas",
  "isa",
  "chatTemplate",
  "onLoadProgress",
  "onPullProgress",
  "offline",
  "signal",
  "speculation",
  "attention",
  "matmul",
  "kvCacheType",
  "ffnSparsity",
] as const satisfies readonly (keyof LoadOptions)[];

export interface ResolvedLoadOptions {
  /** Of each replica. */
  threads: number;
  replicas: number;
  /** 0: the default, which depends on the model. */
  contextSize: number;
  /** 0: the default. */
  maxSequences: number;
  /** 0: the default, which depends on the others and on free memory. */
  kvCacheTokens: number;
  isa: Isa;
  kvCacheType: KvCacheType;
  /** Undefined: exact. */
  attention: ResolvedAttention | undefined;
  /** Undefined: layers read whole weights. */
  ffnSparsity: ResolvedSparsity | undefined;
  matmul: MatmulInfo;
  /** Undefined: off. */
  speculation: ResolvedSpeculation | undefined;
  chatTemplate: string | undefined;
  onLoadProgress: LoadOptions["onLoadProgress"];
  onPullProgress: LoadOptions["onPullProgress"];
  offline: boolean | undefined;
  signal: AbortSignal | undefined;
}

export function checkInteger(field: string, value: unknown, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw invalidOption(field, `an integer in [${min}, ${max}]`, value);
  }
  return value as number;
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw invalidOption("signal", "an AbortSignal", value);
}

export function checkFunction<F>(field: string, value: unknown): F | undefined {
  if (value === undefined || typeof value === "function") return value as F | undefined;
  throw invalidOption(field, "a function", value);
}

export function checkText(field: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  throw invalidOption(field, "a string", value);
}

export function checkFlag(field: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw invalidOption(field, "true or false", value);
}

function checkIsa(value: unknown): Isa {
  const { isa: best, available } = getBinding().cpu();
  const asked = value === undefined || value === "auto" ? process.env["LUTRA_ISA"] || "auto" : value;
  if (asked === "auto") return best;
  const field = asked === value ? "isa" : "LUTRA_ISA";
  const found = available.find((each) => each === asked);
  if (found === undefined)
    throw invalidOption(field, `"auto" or one of ${available.join(", ")} (what this machine has)`, asked);
  return found;
}

function checkKvCacheType(value: unknown): KvCacheType {
  if (value === undefined || value === "f16" || value === "q8_0") return value ?? "f16";
  throw invalidOption("kvCacheType", '"f16" or "q8_0"', value);
}

/** Reads each option once and checks it. @throws InvalidOptionError, BinaryNotFoundError */
export function resolveLoadOptions(options: unknown): ResolvedLoadOptions {
  const given = readOptions(options, names);
  const replicas = checkInteger("replicas", given["replicas"], 1, limits.maxReplicas) ?? 1;
  const threads = checkInteger("threads", given["threads"], 1, limits.maxThreads);
  return {
    threads: threads ?? Math.max(1, Math.floor(getBinding().cpu().threads / replicas)),
    replicas,
    contextSize: checkInteger("contextSize", given["contextSize"], 1, limits.maxContextSize) ?? 0,
    maxSequences: checkInteger("maxSequences", given["maxSequences"], 1, limits.maxMaxSequences) ?? 0,
    kvCacheTokens: checkInteger("kvCacheTokens", given["kvCacheTokens"], 1, limits.maxKvCacheTokens) ?? 0,
    isa: checkIsa(given["isa"]),
    kvCacheType: checkKvCacheType(given["kvCacheType"]),
    attention: resolveAttention(given["attention"]),
    ffnSparsity: resolveSparsity(given["ffnSparsity"]),
    matmul: resolveMatmul(given["matmul"]),
    speculation: resolveSpeculation(given["speculation"]),
    chatTemplate: checkText("chatTemplate", given["chatTemplate"]),
    onLoadProgress: checkFunction("onLoadProgress", given["onLoadProgress"]),
    onPullProgress: checkFunction("onPullProgress", given["onPullProgress"]),
    offline: checkFlag("offline", given["offline"]),
    signal: checkSignal(given["signal"]),
  };
}
