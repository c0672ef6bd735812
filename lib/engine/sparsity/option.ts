/** The load option `ffnSparsity`, and others of its form: checked, with the defaults of the fields that a type takes. */
import { createError, invalidOption } from "../../errors.js";
import { nearestName, readKeys, readProperty } from "../../sampling/index.js";
import type { FfnSparsityOptions } from "../../types.js";
import type { ResolvedSparsity } from "../../worker/index.js";

type Field = keyof FfnSparsityOptions;
type SparsityType = FfnSparsityOptions["type"];

const choice = ["selection", "allocation", "calibration"] as const;
/** Fields beside `type` and `keep` that a type takes. */
const fieldsOf: Record<SparsityType, readonly Field[]> = {
  teal: ["keepHidden", "attention", ...choice],
  wina: ["keepHidden", "attention", "norms", ...choice],
  cats: choice,
  dip: ["keepHidden", ...choice],
  "down-only": choice,
  coreinfer: ["tokenShare", "guard"],
  random: [],
};
const types = Object.keys(fieldsOf) as SparsityType[];
const allFields = [...new Set<Field>(["type", "keep", ...Object.values(fieldsOf).flat()])];

const selections = ["topk", "threshold", "hybrid"] as const;
const allocations = ["uniform", "prior", "calibrated"] as const;
const defaultTokenShare = 0.4;
/** On SmolLM2 it refuses 3 of 72 prompts of one topic, and 29 of 36 that turn to Shakespeare (bench/sparsity/core.mjs). */
const defaultGuard = 0.36;

/** Undefined: layers read whole weights. `option` is its name in errors. @throws InvalidOptionError */
export function resolveSparsity(value: unknown, option = "ffnSparsity"): ResolvedSparsity | undefined {
  if (value === undefined || value === false) return undefined;
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidOption(option, 'false or { type: "wina", keep: 0.6, … }', value);
  const keys = readKeys(value, option);
  const at = (name: string): string => `${option}.${name}`;
  const read = (name: Field): unknown => readProperty(value, name, at(name));
  const type = oneOf(at("type"), read("type"), types);
  for (const key of keys) checkField(key, type, at);
  const fields = fieldsOf[type];
  const keep = share(at("keep"), read("keep"));
  const resolved: ResolvedSparsity = { type, keep, selection: "topk", allocation: "uniform" };
  const take = <F extends Field>(name: F, resolve: (given: unknown) => ResolvedSparsity[F]): void => {
    if (fields.includes(name)) resolved[name] = resolve(read(name));
  };
  take("keepHidden", (given) => (given === undefined ? keep : share(at("keepHidden"), given)));
  take("attention", (given) => oneOf(at("attention"), given ?? false, [true, false] as const));
  take("norms", (given) => oneOf(at("norms"), given ?? "stacked", ["stacked", "own", "published"] as const));
  if (fields.includes("selection")) Object.assign(resolved, readChoice(type, read, at));
  if (resolved.allocation === "calibrated" && read("keepHidden") !== undefined)
    throw invalidOption(at("keepHidden"), 'nothing with allocation "calibrated", which says it', resolved.keepHidden);
  take("tokenShare", (given) => (given === undefined ? defaultTokenShare : share(at("tokenShare"), given)));
  take("guard", (given) => (given === undefined ? defaultGuard : overlap(at("guard"), given)));
  return resolved;
}

/** How channels are chosen; what needs a calibration has one. */
function readChoice(
  type: SparsityType,
  read: (name: Field) => unknown,
  at: (name: string) => string,
): Pick<ResolvedSparsity, (typeof choice)[number]> {
  const calibration = checkPath(at("calibration"), read("calibration"));
  const hasPrior = type === "teal" || type === "wina" || type === "dip";
  const otherwise = calibration !== undefined ? "calibrated" : hasPrior ? "prior" : "uniform";
  const selection = oneOf(at("selection"), read("selection") ?? "topk", selections);
  const allocation = oneOf(at("allocation"), read("allocation") ?? otherwise, allocations);
  if (calibration !== undefined) return { selection, allocation, calibration };
  const needing =
    selection !== "topk" ? `selection "${selection}"` : allocation === "calibrated" && 'allocation "calibrated"';
  if (needing) throw invalidOption(at("calibration"), `the path of a file, for ${needing}`, undefined);
  return { selection, allocation };
}

function checkField(key: string, type: SparsityType, at: (name: string) => string): void {
  const known = ["type", "keep", ...fieldsOf[type]];
  if (known.includes(key)) return;
  if ((allFields as readonly string[]).includes(key)) {
    const having = types.filter((each) => fieldsOf[each].includes(key as Field)).join(", ");
    throw createError("INVALID_OPTION", `${at(key)} is an option of ${having}, not of ${type}`);
  }
  const near = nearestName(key, known);
  const hint = near === undefined ? `known: ${known.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
  throw createError("INVALID_OPTION", `${at(key)} is not an option; ${hint}`);
}

function oneOf<T extends string | boolean>(field: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value);
  if (found !== undefined) return found;
  throw invalidOption(field, allowed.map((each) => JSON.stringify(each)).join(" or "), value);
}

function share(field: string, value: unknown): number {
  if (typeof value === "number" && value > 0 && value <= 1) return value;
  throw invalidOption(field, "a number in (0, 1]", value);
}

function overlap(field: string, value: unknown): number {
  if (typeof value === "number" && value >= 0 && value <= 1) return value;
  throw invalidOption(field, "a number in [0, 1]", value);
}

function checkPath(field: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === "string" && value !== "" && !value.includes("\0"))) return value;
  throw invalidOption(field, "the path of a file", value);
}
