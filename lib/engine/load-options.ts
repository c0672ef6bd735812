/** Load options, checked: unknown names are refused, every default is filled in. */
import { getBinding, type Isa } from "../binding/index.js";
import { InvalidOptionError, describeValue, invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import { nearestName } from "../sampling/index.js";
import type { LoadOptions } from "../types.js";

const names = [
  "threads",
  "contextSize",
  "maxSequences",
  "kvCacheType",
  "isa",
  "chatTemplate",
  "onLoadProgress",
  "onPullProgress",
  "offline",
  "signal",
] as const satisfies readonly (keyof LoadOptions)[];

export interface ResolvedLoadOptions {
  threads: number;
  /** 0: the default, which depends on the model. */
  contextSize: number;
  maxSequences: number;
  kvCacheType: "f16";
  isa: Isa;
  chatTemplate: string | undefined;
  onLoadProgress: LoadOptions["onLoadProgress"];
  onPullProgress: LoadOptions["onPullProgress"];
  offline: boolean | undefined;
  signal: AbortSignal | undefined;
}

/** Refuses names that are not known, with the nearest one that is. */
export function refuseUnknown(given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    const hint = near ? `did you mean ${JSON.stringify(near)}?` : `known options: ${known.join(", ")}`;
    throw new InvalidOptionError("INVALID_OPTION", `${describeValue(name)} is not an option; ${hint}`);
  }
}

export function checkObject(options: unknown): Record<string, unknown> {
  if (options === undefined) return {};
  if (typeof options !== "object" || options === null || Array.isArray(options))
    throw invalidOption("options", "an object", options);
  return options as Record<string, unknown>;
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

/** Reads each option once and checks it. @throws InvalidOptionError, BinaryNotFoundError */
export function resolveLoadOptions(options: unknown): ResolvedLoadOptions {
  const given = { ...checkObject(options) };
  refuseUnknown(given, names);
  const { kvCacheType, chatTemplate, offline } = given;
  if (kvCacheType !== undefined && kvCacheType !== "f16") throw invalidOption("kvCacheType", '"f16"', kvCacheType);
  if (chatTemplate !== undefined && typeof chatTemplate !== "string")
    throw invalidOption("chatTemplate", "a string", chatTemplate);
  if (offline !== undefined && typeof offline !== "boolean") throw invalidOption("offline", "true or false", offline);
  return {
    threads: checkInteger("threads", given["threads"], 1, limits.maxThreads) ?? getBinding().cpu().threads,
    contextSize: checkInteger("contextSize", given["contextSize"], 1, limits.maxContextSize) ?? 0,
    maxSequences:
      checkInteger("maxSequences", given["maxSequences"], 1, limits.maxMaxSequences) ?? limits.defaultMaxSequences,
    kvCacheType: "f16",
    isa: checkIsa(given["isa"]),
    chatTemplate,
    onLoadProgress: checkFunction("onLoadProgress", given["onLoadProgress"]),
    onPullProgress: checkFunction("onPullProgress", given["onPullProgress"]),
    offline,
    signal: checkSignal(given["signal"]),
  };
}
