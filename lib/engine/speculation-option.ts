/** The load option `speculation`: checked, with its defaults. */
import { createError, describeValue, invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import { nearestName, readKeys, readProperty } from "../sampling/index.js";
import { type Source, sources } from "../speculation/index.js";
import { draftSparsityOption, type ResolvedSparsity } from "../worker/index.js";
import { resolveSparsity } from "./sparsity/option.js";

export interface ResolvedSpeculation {
  drafters: Source[];
  maxNodes: number;
  shareTexts: boolean;
  /** Name or path of the model that drafts, or how this one skips channels to do it: one of the two with the drafter "draft". */
  draftModel: string | undefined;
  draftSparsity: ResolvedSparsity | undefined;
}

const fields = ["drafters", "draftModel", "draftSparsity", "maxNodes", "shareTexts"];
/** What "auto" uses. Recycling would bring 1 % more tokens a step, and its tables cost as much of the step. */
const autoDrafters: Source[] = ["suffix", "reader"];
const defaultMaxNodes = 15;

/** Undefined: off. @throws InvalidOptionError */
export function resolveSpeculation(value: unknown): ResolvedSpeculation | undefined {
  if (value === "off") return undefined;
  if (value === undefined || value === "auto") {
    const none = { draftModel: undefined, draftSparsity: undefined };
    return { drafters: autoDrafters, maxNodes: defaultMaxNodes, shareTexts: false, ...none };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidOption("speculation", `"auto", "off" or { ${fields.join(", ")} }`, value);
  }
  for (const key of readKeys(value, "speculation")) {
    if (fields.includes(key)) continue;
    const near = nearestName(key, fields);
    const hint = near === undefined ? `known: ${fields.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
    throw createError("INVALID_OPTION", `speculation.${key} is not an option; ${hint}`);
  }
  const read = (name: string): unknown => readProperty(value, name, `speculation.${name}`);
  const draftModel = readModel(read("draftModel"));
  const draftSparsity = resolveSparsity(read("draftSparsity"), draftSparsityOption);
  if (draftModel !== undefined && draftSparsity !== undefined)
    throw invalidOption(draftSparsityOption, "nothing beside draftModel, which drafts", draftSparsity);
  const drafters = readDrafters(read("drafters"), { draftModel, draftSparsity });
  return {
    drafters,
    maxNodes: readMaxNodes(read("maxNodes")),
    shareTexts: readShareTexts(read("shareTexts"), drafters),
    draftModel,
    draftSparsity,
  };
}

function readDrafters(
  value: unknown,
  { draftModel, draftSparsity }: Pick<ResolvedSpeculation, "draftModel" | "draftSparsity">,
): Source[] {
  const hasDraft = draftModel !== undefined || draftSparsity !== undefined;
  if (value === undefined) return hasDraft ? [...autoDrafters, "draft"] : autoDrafters;
  const expected = `a list of ${sources.map((name) => JSON.stringify(name)).join(", ")}`;
  if (!Array.isArray(value) || value.length === 0) throw invalidOption("speculation.drafters", expected, value);
  const drafters = Array.from(value as unknown[], (name, i) => {
    const found = sources.find((source) => source === name);
    if (found === undefined) throw invalidOption(`speculation.drafters[${i}]`, `one of ${expected.slice(10)}`, name);
    return found;
  });
  if (drafters.includes("draft") !== hasDraft) {
    const model = draftModel === undefined ? "draftSparsity" : `draftModel ${describeValue(draftModel)}`;
    throw createError(
      "INVALID_OPTION",
      `speculation: expected draftModel or draftSparsity and the drafter "draft" together, got ${hasDraft ? model : "neither"}`,
    );
  }
  return [...new Set(drafters)];
}

function readModel(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string" && value !== "") return value;
  throw invalidOption("speculation.draftModel", "a name, a path or hf:user/repo:file", value);
}

function readShareTexts(value: unknown, drafters: readonly Source[]): boolean {
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw invalidOption("speculation.shareTexts", "true or false", value);
  if (!value || drafters.includes("reader")) return value;
  throw invalidOption("speculation.shareTexts", 'the drafter "reader", which reads them', drafters);
}

function readMaxNodes(value: unknown): number {
  if (value === undefined) return defaultMaxNodes;
  const most = limits.maxDraftRows - 1;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most) return value as number;
  throw invalidOption("speculation.maxNodes", `an integer in [1, ${most}]`, value);
}
