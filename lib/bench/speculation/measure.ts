/** What speculation gains on a prompt: the same request with and without it, in turns. */
import type { Model } from "../../engine/index.js";
import type { GenerateResult } from "../../types.js";
import { median } from "../rows.js";
import type { SpeculationPrompt } from "./prompts.js";

/** The same model twice, on one copy of the weights. */
export interface Pair {
  plain: Model;
  drafting: Model;
}

export interface PromptOptions {
  maxTokens: number;
  temperature: number;
  repetitions: number;
  signal: AbortSignal;
}

export interface PromptResult {
  category: string;
  tokens: number;
  /** Medians: milliseconds of all tokens after the first, and of the whole request. */
  plainMs: number;
  draftingMs: number;
  plainTotalMs: number;
  draftingTotalMs: number;
  steps: number;
  drafted: number;
  accepted: number;
  /** The end repeats itself, which small models do and drafts profit from. */
  isLooping: boolean;
  /** Both gave the same tokens. */
  isIdentical: boolean;
}

export async function measurePrompt(
  pair: Pair,
  prompt: SpeculationPrompt,
  options: PromptOptions,
): Promise<PromptResult> {
  const plain: GenerateResult[] = [];
  const drafting: GenerateResult[] = [];
  for (let round = 0; round < options.repetitions; round++) {
    const sides = [
      async () => plain.push(await ask(pair.plain, prompt, options)),
      async () => drafting.push(await ask(pair.drafting, prompt, options)),
    ];
    // Who goes first changes, so that a machine that speeds up or slows down favours nobody.
    for (const side of round % 2 === 0 ? sides : sides.reverse()) await side();
  }
  const [first, other] = [plain[0] as GenerateResult, drafting.at(-1) as GenerateResult];
  const medianOf = (results: GenerateResult[], of: (timings: GenerateResult["timings"]) => number) =>
    median(results.map(({ timings }) => of(timings)));
  const total = ({ promptMs, predictedMs }: GenerateResult["timings"]) => promptMs + predictedMs;
  return {
    category: prompt.category,
    tokens: first.tokens.length,
    plainMs: medianOf(plain, ({ predictedMs }) => predictedMs),
    draftingMs: medianOf(drafting, ({ predictedMs }) => predictedMs),
    plainTotalMs: medianOf(plain, total),
    draftingTotalMs: medianOf(drafting, total),
    steps: other.speculation.steps,
    drafted: other.speculation.drafted,
    accepted: other.speculation.accepted,
    isLooping: isLooping(first.tokens),
    isIdentical: [...plain, ...drafting].every(({ tokens }) => tokens.join() === first.tokens.join()),
  };
}

async function ask(model: Model, { text }: SpeculationPrompt, options: PromptOptions): Promise<GenerateResult> {
  const { maxTokens, temperature, signal } = options;
  // The prompt is read anew each time, by both.
  const request = { maxTokens, temperature, seed: 1, signal, cachePrompt: false };
  const hasTemplate = model.info.chatTemplate !== null;
  return hasTemplate ? model.chat([{ role: "user", content: text }], request) : model.generate(text, request);
}

/** Whether the last 64 tokens hold some 16 in a row three times or more. */
export function isLooping(tokens: readonly number[]): boolean {
  const counts = new Map<string, number>();
  const tail = tokens.slice(-64);
  for (let i = 0; i + 16 <= tail.length; i++) {
    const key = tail.slice(i, i + 16).join();
    const count = (counts.get(key) ?? 0) + 1;
    if (count >= 3) return true;
    counts.set(key, count);
  }
  return false;
}
