/** The flags commands share. Every flag has an environment variable, LUTRA_ and its long name; the flag wins. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { defaultModelName } from "../models/index.js";
import type { LoadOptions } from "../types.js";

export interface ModelFlags {
  model: string;
  threads?: number;
  isa?: "auto" | "scalar" | "avx2" | "avx512" | "neon";
  offline?: boolean;
  json?: boolean;
}

/** A flag with its environment variable; of a switch, the values 0, false and nothing mean off. */
export function option(flags: string, description: string, parser?: (value: string) => unknown): Option {
  const made = new Option(flags, description);
  const variable = `LUTRA_${(made.long ?? "").slice(2).toUpperCase().replaceAll("-", "_")}`;
  const isSwitch = !made.required && !made.optional;
  const value = process.env[variable]?.trim().toLowerCase();
  if (!isSwitch || !["", "0", "false", "off", "no"].includes(value ?? "1")) made.env(variable);
  if (parser) made.argParser(parser);
  return made;
}

export function number(value: string): number {
  const parsed = value.trim() === "" ? Number.NaN : Number(value);
  if (!Number.isFinite(parsed)) throw new InvalidArgumentError("Expected a number.");
  return parsed;
}

export function integer(value: string): number {
  const parsed = number(value);
  if (!Number.isSafeInteger(parsed)) throw new InvalidArgumentError("Expected a whole number.");
  return parsed;
}

export function positive(value: string): number {
  const parsed = integer(value);
  if (parsed < 1) throw new InvalidArgumentError("Expected a whole number of at least 1.");
  return parsed;
}

/** Gathers a repeatable flag; from the environment it is one value. */
export function repeatable(): (value: string, previous?: string[]) => string[] {
  let values: string[] = [];
  return (value) => {
    values = [...values, value];
    return values;
  };
}

export function addJson(command: Command): Command {
  return command.addOption(option("--json", "one JSON document on stdout"));
}

export function addModel(command: Command): Command {
  return addJson(command)
    .addOption(option("-m, --model <model>", "a name, a path or hf:user/repo:file.gguf").default(defaultModelName))
    .addOption(option("--offline", "never touch the network"));
}

export function addCompute(command: Command): Command {
  return addModel(command)
    .addOption(option("-t, --threads <n>", "threads (default: what affinity and quota allow)", positive))
    .addOption(option("--isa <path>", "instruction set").choices(["auto", "scalar", "avx2", "avx512", "neon"]));
}

export interface TechniqueFlags {
  attention?: string;
  ffnSparsity?: string;
  matmul?: string;
  kvType?: string;
  /** True where a command takes it without a value. */
  speculation?: string | true;
  modelDraft?: string;
  draftSparsity?: string;
  draftMax?: number;
  draftShareTexts?: boolean;
}

/** Approximations and speculation. Their values are the library's to check, so that both say the same. */
export function addTechniques(command: Command, speculationValue = "<kind>"): Command {
  return command
    .addOption(
      option("--attention <kind>", "attention: exact, nomad, nomad:pure or nomad:refine,epsilon=0.02,dSub=4,…"),
    )
    .addOption(option("--ffn-sparsity <kind>", "sparse feed-forward layers: off, wina:0.6, dip:0.6,keepHidden=0.5, …"))
    .addOption(option("--matmul <kind>", "matrix products: auto, dot, lut or lut:tables=int8"))
    .addOption(option("--kv-type <type>", "type of the K/V cache: f16 or q8_0"))
    .addOption(
      option(
        `--speculation ${speculationValue}`,
        "speculative decoding: auto, off, or drafters: suffix,recycling,reader,jacobi",
      ),
    )
    .addOption(option("--model-draft <model>", "a smaller model of the same vocabulary that drafts too"))
    .addOption(option("--draft-sparsity <kind>", "the model itself drafts, sparse: wina:0.6, …, as --ffn-sparsity"))
    .addOption(option("--draft-max <n>", "drafted tokens verified in a step at most", positive))
    .addOption(option("--draft-share-texts", "draft from the texts of earlier requests too"));
}

export function techniqueOptions(flags: TechniqueFlags): Partial<LoadOptions> {
  const { attention, ffnSparsity, matmul, kvType } = flags;
  return {
    attention: techniqueOption(attention, "mode"),
    ffnSparsity: sparsityOption(ffnSparsity),
    matmul: techniqueOption(matmul, "tables"),
    kvCacheType: kvType,
    speculation: speculationOption(flags),
  } as Partial<LoadOptions>;
}

/** `nomad:pure,tail=true`, `wina:0.6`: a value for `bare`, and any other option of the library by its name. */
export function techniqueOption(given: string | undefined, bare: string): unknown {
  const [type, parts] = [given?.split(":", 1)[0], given?.slice(given.indexOf(":") + 1).split(",")];
  if (given === undefined || type === given) return given;
  const options = (parts ?? []).map((part) => {
    const at = part.indexOf("=");
    return at < 0 ? [bare, parseValue(part)] : [part.slice(0, at), parseValue(part.slice(at + 1))];
  });
  return Object.fromEntries([["type", type], ...options]) as unknown;
}

/** A number or a truth value where it is one, else the text. */
function parseValue(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function sparsityOption(given: string | undefined): unknown {
  return given === "off" ? false : techniqueOption(given, "keep");
}

function speculationOption(flags: TechniqueFlags): unknown {
  const { speculation: given, modelDraft, draftMax, draftShareTexts } = flags;
  const draftSparsity = sparsityOption(flags.draftSparsity) || undefined;
  const speculation = given === true ? "auto" : given;
  const isNamed = speculation !== undefined && speculation !== "auto";
  const isDetailed = [modelDraft, draftSparsity, draftMax, draftShareTexts].some((value) => value !== undefined);
  if (speculation === "off" || !(isNamed || isDetailed)) return speculation;
  const drafters = isNamed ? speculation.split(",") : undefined;
  const hasDraft = modelDraft !== undefined || draftSparsity !== undefined;
  if (hasDraft && drafters?.includes("draft") === false) drafters.push("draft");
  return { drafters, draftModel: modelDraft, draftSparsity, maxNodes: draftMax, shareTexts: draftShareTexts };
}

export function addContext(command: Command): Command {
  return command.addOption(
    option("-c, --ctx-size <n>", "tokens of prompt and answer together (0: from the model)", integer),
  );
}
