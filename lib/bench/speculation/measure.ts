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
  signal: AbortSignal;
}

/** One request, answered twice: milliseconds of all tokens after the first, and of the whole. */
export interface PromptResult {
  category: string;
  tokens: number;
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

/** `draftingFirst` changes with every prompt, so that a machine that speeds up or slows down favours nobody. */
export async function measurePrompt(
  pair: Pair,
  prompt: SpeculationPrompt,
  options: PromptOptions & { draftingFirst: boolean },
): Promise<PromptResult> {
  const results = new Map<Model, GenerateResult>();
  const order = options.draftingFirst ? [pair.drafting, pair.plain] : [pair.plain, pair.drafting];
  for (const model of order) results.set(model, await ask(model, prompt, options));
  const [plain, drafting] = [results.get(pair.plain), results.get(pair.drafting)] as [GenerateResult, GenerateResult];
  const { steps, drafted, accepted } = drafting.speculation;
  return {
    category: prompt.category,
    tokens: plain.tokens.length,
    plainMs: plain.timings.predictedMs,
    draftingMs: drafting.timings.predictedMs,
    plainTotalMs: plain.timings.promptMs + plain.timings.predictedMs,
    draftingTotalMs: drafting.timings.promptMs + drafting.timings.predictedMs,
    ...{ steps, drafted, accepted },
    isLooping: isLooping(plain.tokens),
    isIdentical: plain.tokens.join() === drafting.tokens.join(),
  };
}

/** The same prompt in several rounds: medians of the times. */
export function mergeRounds(rounds: readonly PromptResult[]): PromptResult {
  const of = (value: (result: PromptResult) => number) => median(rounds.map(value));
  return {
    ...(rounds[0] as PromptResult),
    plainMs: of(({ plainMs }) => plainMs),
    draftingMs: of(({ draftingMs }) => draftingMs),
    plainTotalMs: of(({ plainTotalMs }) => plainTotalMs),
    draftingTotalMs: of(({ draftingTotalMs }) => draftingTotalMs),
    isIdentical: rounds.every(({ isIdentical }) => isIdentical),
  };
}

async function ask(
  model: Model,
  { text, isCompletion = false }: SpeculationPrompt,
  options: PromptOptions,
): Promise<GenerateResult> {
  const { maxTokens, temperature, signal } = options;
  // The prompt is read anew each time, by both.
  const request = { maxTokens, temperature, seed: 1, signal, cachePrompt: false };
  const isChat = !isCompletion && model.info.chatTemplate !== null;
  return isChat ? model.chat([{ role: "user", content: text }], request) : model.generate(text, request);
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
