/**
 * The load option `attention`: checked, with its defaults. Lookup attention is NoMAD (Zhang et al., 2024): keys as 4-bit codes,
 * scored by look-ups; `refine` reads the likely ones exactly afterwards.
 */
import { createError, invalidOption } from "../../errors.js";
import { nearestName, readKeys, readProperty } from "../../sampling/index.js";
import type { NomadOptions } from "../../types.js";

export interface ResolvedAttention {
  mode: "pure" | "refine";
  dSub: 1 | 2 | 4;
  epsilon: number;
  maxKeep: number;
  tail: boolean;
  tableBits: 7 | 8;
  outliers: number;
  /** Path of a codebook file; undefined: the model's own in the cache folder. */
  codebooks: string | undefined;
}

const fields = [
  "type",
  "mode",
  "dSub",
  "epsilon",
  "maxKeep",
  "tail",
  "tableBits",
  "outliers",
  "codebooks",
] as const satisfies readonly (keyof NomadOptions)[];

const expected = '"exact", "nomad" or { type: "nomad", … }';
const defaultEpsilon = 0.03;
const defaultMaxKeep = 0.5;
const maxOutliers = 16;

/** Undefined: exact. @throws InvalidOptionError */
export function resolveAttention(value: unknown): ResolvedAttention | undefined {
  if (value === undefined || value === "exact") return undefined;
  const given = value === "nomad" ? { type: "nomad" } : value;
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw invalidOption("attention", expected, value);
  for (const key of readKeys(given, "attention")) {
    if ((fields as readonly string[]).includes(key)) continue;
    const near = nearestName(key, fields);
    const hint = near === undefined ? `known: ${fields.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
    throw createError("INVALID_OPTION", `attention.${key} is not an option; ${hint}`);
  }
  const read = (name: (typeof fields)[number], otherwise?: unknown): unknown => {
    const found = readProperty(given, name, `attention.${name}`);
    return found === undefined ? otherwise : found;
  };
  oneOf("type", read("type"), ["nomad"] as const);
  const mode = oneOf("mode", read("mode", "refine"), ["pure", "refine"] as const);
  return {
    mode,
    dSub: checkSubvector(read("dSub", mode === "pure" ? 1 : 2)),
    epsilon: share("epsilon", read("epsilon", defaultEpsilon), false),
    maxKeep: share("maxKeep", read("maxKeep", defaultMaxKeep), true),
    tail: oneOf("tail", read("tail", false), [true, false] as const),
    tableBits: oneOf("tableBits", read("tableBits", 8), [7, 8] as const),
    outliers: checkOutliers(read("outliers", 0)),
    codebooks: checkPath(read("codebooks")),
  };
}

/** Of codebooks: dimensions of a sub-vector. @throws InvalidOptionError */
export function checkSubvector(value: unknown, field = "attention.dSub"): 1 | 2 | 4 {
  if (value === 1 || value === 2 || value === 4) return value;
  throw invalidOption(field, "1, 2 or 4", value);
}

/** Of codebooks: dimensions of a head that are kept in 8 bits. @throws InvalidOptionError */
export function checkOutliers(value: unknown, field = "attention.outliers"): number {
  const isEven = Number.isInteger(value) && (value as number) % 2 === 0;
  if (isEven && (value as number) >= 0 && (value as number) <= maxOutliers) return value as number;
  throw invalidOption(field, `an even integer in [0, ${maxOutliers}]`, value);
}

function oneOf<T extends string | number | boolean>(name: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value);
  if (found !== undefined) return found;
  throw invalidOption(`attention.${name}`, allowed.map((each) => JSON.stringify(each)).join(" or "), value);
}

function share(name: string, value: unknown, withOne: boolean): number {
  if (typeof value === "number" && value > 0 && (value < 1 || (withOne && value === 1))) return value;
  throw invalidOption(`attention.${name}`, `a number in (0, 1${withOne ? "]" : ")"}`, value);
}

function checkPath(value: unknown): string | undefined {
  if (value === undefined || (typeof value === "string" && value !== "" && !value.includes("\0"))) return value;
  throw invalidOption("attention.codebooks", "the path of a file", value);
}
