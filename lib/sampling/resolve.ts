/**
 * Request options → SamplingParams. Every wrong value becomes an InvalidOptionError that names the field, what was
 * expected and what was found; an unknown name is refused with the nearest known one.
 */
import { z } from "zod";
import { InvalidOptionError, invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import type { GenerateOptions } from "../types.js";
import { type SamplingParams, defaultSampling } from "./params.js";
import { randomSeed } from "./random.js";
import { readKeys, readOptions, readProperty } from "./read-options.js";

export interface ResolveContext {
  /** Token ids must be below it. */
  vocabSize?: number;
  /** Option names that someone else checks (chat options, for instance). */
  alsoKnown?: readonly string[];
}

interface Rule {
  schema: z.ZodType;
  expected: string;
}

function numberRule(min: number, max: number): Rule {
  return { schema: z.number().min(min).max(max), expected: `a number in [${min}, ${max}]` };
}
function integerRule(min: number, max: number): Rule {
  return { schema: z.int().min(min).max(max), expected: `an integer in [${min}, ${max}]` };
}

const maxTokenId = 0x7fffffff;
const maxBias = 1e6;

const rules: Record<keyof GenerateOptions, Rule> = {
  maxTokens: integerRule(1, limits.maxContextSize),
  temperature: numberRule(0, limits.maxTemperature),
  topK: integerRule(0, maxTokenId),
  topP: numberRule(0, 1),
  minP: numberRule(0, 1),
  typicalP: numberRule(0, 1),
  repeatPenalty: { schema: z.number().min(0.01).max(100), expected: "a number in [0.01, 100] (1: no penalty)" },
  repeatLastN: integerRule(-1, limits.maxContextSize),
  presencePenalty: numberRule(-100, 100),
  frequencyPenalty: numberRule(-100, 100),
  seed: integerRule(0, Number.MAX_SAFE_INTEGER),
  stop: { schema: z.union([z.string(), z.array(z.unknown())]), expected: "a string or an array of strings" },
  logitBias: {
    schema: z.custom((value) => typeof value === "object" && value !== null && !Array.isArray(value)),
    expected: "an object of token id → number",
  },
  logprobs: {
    schema: z.union([z.boolean(), z.int().min(0).max(limits.maxLogprobs)]),
    expected: `true, false or an integer in [0, ${limits.maxLogprobs}]`,
  },
  parseSpecial: { schema: z.boolean(), expected: "true or false" },
  ignoreEos: { schema: z.boolean(), expected: "true or false" },
  cachePrompt: { schema: z.boolean(), expected: "true or false" },
  priority: integerRule(-limits.maxPriority, limits.maxPriority),
  signal: { schema: z.instanceof(AbortSignal), expected: "an AbortSignal" },
  onPromptProgress: { schema: z.custom((value) => typeof value === "function"), expected: "a function" },
};

/** The names `resolveSampling` knows, for command lines and servers. */
export const generateOptionNames = Object.keys(rules) as (keyof GenerateOptions)[];

function checked(options: Record<string, unknown>, name: keyof GenerateOptions): unknown {
  const value = options[name];
  if (value === undefined) return undefined;
  const rule = rules[name];
  if (!accepts(rule.schema, value)) throw invalidOption(name, rule.expected, value);
  return value;
}

/** Looking into a proxy may throw. */
function accepts(schema: z.ZodType, value: unknown): boolean {
  try {
    return schema.safeParse(value).success;
  } catch {
    return false;
  }
}

function resolveStop(value: unknown): string[] {
  if (value === undefined) return [];
  const list = typeof value === "string" ? [value] : (value as unknown[]);
  const count = Number(readProperty(list, "length", "stop"));
  if (count > limits.maxStopStrings) throw invalidOption("stop", `at most ${limits.maxStopStrings} strings`, list);
  const stops: string[] = [];
  for (let i = 0; i < count; i++) {
    const field = typeof value === "string" ? "stop" : `stop[${i}]`;
    const text = readProperty(list, String(i), field);
    const expected = `a non-empty string of at most ${limits.maxStopBytes} bytes of UTF-8`;
    if (typeof text !== "string" || text === "" || text.length > limits.maxStopBytes)
      throw invalidOption(field, expected, text);
    if (Buffer.byteLength(text) > limits.maxStopBytes) throw invalidOption(field, expected, text);
    if (/\p{Surrogate}/u.test(text)) throw invalidOption(field, "well-formed text (no lone surrogate)", text);
    stops.push(text);
  }
  return stops;
}

function resolveBias(value: unknown, vocabSize: number | undefined): { ids: Int32Array; values: Float32Array } {
  if (value === undefined) return { ids: new Int32Array(0), values: new Float32Array(0) };
  const keys = readKeys(value as object, "logitBias");
  if (keys.length > limits.maxLogitBias) {
    throw new InvalidOptionError(
      "INVALID_OPTION",
      `logitBias: expected at most ${limits.maxLogitBias} entries, got ${keys.length}`,
    );
  }
  const last = vocabSize === undefined ? maxTokenId : vocabSize - 1;
  const ids = new Int32Array(keys.length);
  const values = new Float32Array(keys.length);
  let banned = 0;
  keys.forEach((key, i) => {
    const id = /^(0|[1-9]\d{0,9})$/.test(key) ? Number(key) : -1;
    if (id < 0 || id > last) throw invalidOption("logitBias", `token ids in [0, ${last}] as keys`, key);
    const field = `logitBias[${id}]`;
    const bias = readProperty(value as object, key, field);
    if (typeof bias !== "number" || !(bias === -Infinity || Math.abs(bias) <= maxBias)) {
      throw invalidOption(field, `a number in [${-maxBias}, ${maxBias}], or -Infinity to ban the token`, bias);
    }
    ids[i] = id;
    values[i] = bias;
    if (bias === -Infinity) banned++;
  });
  if (vocabSize !== undefined && banned >= vocabSize) {
    throw new InvalidOptionError(
      "INVALID_OPTION",
      `logitBias: bans all ${vocabSize} tokens of the vocabulary; leave at least one`,
    );
  }
  return { ids, values };
}

function resolveLogprobs(value: unknown): number {
  if (value === undefined || value === false) return -1;
  return value === true ? 0 : (value as number);
}

/** Checks every option and fills the defaults in. @throws InvalidOptionError */
export function resolveSampling(options: GenerateOptions | undefined, context: ResolveContext = {}): SamplingParams {
  const source = readOptions(options, [...generateOptionNames, ...(context.alsoKnown ?? [])]);
  const number = (name: keyof typeof defaultSampling) =>
    (checked(source, name) as number | undefined) ?? defaultSampling[name];
  checked(source, "signal");
  checked(source, "onPromptProgress");
  const bias = resolveBias(checked(source, "logitBias"), context.vocabSize);
  return {
    maxTokens: checked(source, "maxTokens") as number | undefined,
    temperature: number("temperature"),
    topK: number("topK"),
    topP: number("topP"),
    minP: number("minP"),
    typicalP: number("typicalP"),
    repeatPenalty: number("repeatPenalty"),
    repeatLastN: number("repeatLastN"),
    presencePenalty: number("presencePenalty"),
    frequencyPenalty: number("frequencyPenalty"),
    seed: (checked(source, "seed") as number | undefined) ?? randomSeed(),
    stop: resolveStop(checked(source, "stop")),
    biasIds: bias.ids,
    biasValues: bias.values,
    logprobs: resolveLogprobs(checked(source, "logprobs")),
    parseSpecial: (checked(source, "parseSpecial") as boolean | undefined) ?? false,
    ignoreEos: (checked(source, "ignoreEos") as boolean | undefined) ?? false,
  };
}
