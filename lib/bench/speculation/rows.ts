/** A row of `lutra bench --speculation`: the keys of every bench row, and what speculation gained over plain decoding. */
import { type BenchRow, deviation, median } from "../rows.js";
import type { PromptResult } from "./measure.js";

export interface SpeculationRow extends BenchRow {
  category: string;
  prompts: number;
  /** Plain decoding of the same prompts, in turns. */
  plain_tokens_per_second: number;
  /** Time of plain decoding ÷ time with speculation: of the tokens alone, and with the prompts. */
  speedup: number;
  speedup_total: number;
  /** The prompt that gained least. */
  worst_speedup: number;
  /** Tokens a step gave, and drafted tokens that were right. */
  mean_accepted: number;
  drafted: number;
  accepted: number;
  /** Prompts whose tokens were the same with and without speculation. */
  identical: number;
}

export interface SpeculationInput {
  results: readonly PromptResult[];
  maxTokens: number;
  threads: number;
  ceilings: readonly number[];
}

/** A row for each category of texts that do not loop, one for all of those, and one for the texts that do. */
export function speculationRows({ results, ...rest }: SpeculationInput): SpeculationRow[] {
  const usual = results.filter(({ isLooping, tokens }) => !isLooping && tokens > 1);
  const categories = [...new Set(usual.map(({ category }) => category))];
  const groups: [string, PromptResult[]][] = [
    ...categories.map((name): [string, PromptResult[]] => [name, usual.filter(({ category }) => category === name)]),
    ["all", usual],
    ["looping", results.filter(({ isLooping }) => isLooping)],
  ];
  return groups.filter(([, group]) => group.length > 0).map(([name, group]) => toRow(name, group, rest));
}

function toRow(
  category: string,
  group: readonly PromptResult[],
  rest: Omit<SpeculationInput, "results">,
): SpeculationRow {
  const sum = (of: (result: PromptResult) => number) => group.reduce((total, each) => total + of(each), 0);
  // The first token is the prompt's.
  const decoded = sum(({ tokens }) => tokens - 1);
  const samples = group.map(({ tokens, draftingMs }) => ((tokens - 1) * 1000) / draftingMs);
  const steps = sum((each) => each.steps);
  const accepted = sum((each) => each.accepted);
  return {
    test: `speculation ${category}`,
    n_prompt: 0,
    n_gen: rest.maxTokens,
    depth: 0,
    batch: 1,
    threads: rest.threads,
    engine: "lutra",
    tokens_per_second: (decoded * 1000) / sum(({ draftingMs }) => draftingMs),
    samples,
    spread: deviation(samples),
    read_ceiling_gb_s: median(rest.ceilings),
    share_of_ceiling: null,
    category,
    prompts: group.length,
    plain_tokens_per_second: (decoded * 1000) / sum(({ plainMs }) => plainMs),
    speedup: sum(({ plainMs }) => plainMs) / sum(({ draftingMs }) => draftingMs),
    speedup_total: sum(({ plainTotalMs }) => plainTotalMs) / sum(({ draftingTotalMs }) => draftingTotalMs),
    worst_speedup: Math.min(...group.map(({ plainMs, draftingMs }) => plainMs / draftingMs)),
    mean_accepted: (steps + accepted) / steps,
    drafted: sum((each) => each.drafted),
    accepted,
    identical: group.filter(({ isIdentical }) => isIdentical).length,
  };
}
