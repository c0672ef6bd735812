/** `lutra bench --speculation`: what drafts gain over plain decoding, on real prompts by category. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  builtInPrompts,
  measureCeiling,
  measurePrompt,
  mergeRounds,
  parsePrompts,
  type PromptResult,
  type SpeculationRow,
  speculationRows,
} from "../../bench/index.js";
import { openModel, readTextFile } from "../input.js";
import { techniqueOptions } from "../options.js";
import { note, spin, UsageError } from "../terminal.js";
import type { BenchFlags } from "./flags.js";
import { type Cell, toTable } from "./output.js";
import { baseOf, formatOf, report } from "./report.js";

/** Prompts and answers are shorter, or end there. */
const contextSize = 4096;
/** A loaded model that speculates measures its steps while it is idle: 250 ms at most. */
const probeMs = 300;
const promptsPerCeiling = 8;

export async function runSpeculation(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  const format = formatOf(flags);
  if (format === "svg") throw new UsageError("--speculation has no plot: give -o md, json or csv");
  const prompts =
    flags.file === undefined ? builtInPrompts() : parsePrompts(await readTextFile(flags.file), flags.file);
  const maxTokens = flags.nGen[0] as number;
  if (flags.nGen.length !== 1 || maxTokens < 2)
    throw new UsageError("-n: --speculation takes one number of tokens, 2 or more");
  const base = await baseOf(flags);
  const options = { ...techniqueOptions(flags), contextSize, maxSequences: 1 };
  await using plain = await openModel(flags, { ...options, speculation: "off" }, signal);
  const { threads } = plain.info;
  const rounds: PromptResult[][] = prompts.map(() => []);
  const ceilings: number[] = [];
  for (let round = 0; round < flags.repetitions; round++) {
    // A new one each round: the last one remembers what it said.
    await using drafting = await openModel(flags, options, signal);
    await sleep(probeMs, undefined, { signal });
    for (const [i, prompt] of prompts.entries()) {
      if (i % promptsPerCeiling === 0) ceilings.push(measureCeiling(threads, 1));
      const asked = { maxTokens, temperature: flags.temp, signal, draftingFirst: (i + round) % 2 === 1 };
      const label = `${prompt.category} ${i + 1}/${prompts.length}, round ${round + 1}`;
      const result = await spin(label, () => measurePrompt({ plain, drafting }, prompt, asked));
      if (format !== "md") note(`${label}: ${(result.plainMs / result.draftingMs).toFixed(2)} ×`);
      rounds[i]?.push(result);
    }
  }
  const results = rounds.map(mergeRounds);
  const rows = speculationRows({ results, maxTokens, threads, ceilings });
  await report(rows, { format, model: plain, base, toMarkdown: speculationTable });
}

function speculationTable(rows: readonly SpeculationRow[], title: string): string {
  const times = (value: number) => `${value.toFixed(2)} ×`;
  const cells: Cell<SpeculationRow>[] = [
    ["test", ({ category }) => category],
    ["prompts", ({ prompts }) => String(prompts)],
    ["plain tokens/s", (row) => row.plain_tokens_per_second.toFixed(1)],
    ["tokens/s", ({ tokens_per_second }) => tokens_per_second.toFixed(1)],
    ["decode", ({ speedup }) => times(speedup)],
    ["end to end", ({ speedup_total }) => times(speedup_total)],
    ["worst prompt", ({ worst_speedup }) => times(worst_speedup)],
    ["tokens a step", ({ mean_accepted }) => mean_accepted.toFixed(2)],
    ["right / drafted", ({ accepted, drafted }) => `${accepted} / ${drafted}`],
    ["identical", ({ identical, prompts }) => `${identical} / ${prompts}`],
  ];
  return toTable(rows, title, cells);
}
