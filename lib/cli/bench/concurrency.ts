/** `lutra bench --concurrency`: what many clients get from one model. */
import {
  type BaseRow,
  concurrencyName,
  type ConcurrencyRow,
  type ConcurrencyTest,
  measureConcurrency,
  neededRoom,
  PromptSource,
  ratioToBase,
} from "../../bench/index.js";
import { openModel } from "../input.js";
import { techniqueOptions } from "../options.js";
import { note, spin, UsageError } from "../terminal.js";
import type { BenchFlags } from "./flags.js";
import { type Cell, ratioText, toTable } from "./output.js";
import { baseOf, formatOf, report } from "./report.js";

export async function runConcurrency(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  const format = formatOf(flags);
  if (format === "svg") throw new UsageError("--concurrency has no plot: give -o md, json or csv");
  const tests = listTests(flags);
  const base = await baseOf(flags);
  await using model = await openModel(
    flags,
    { ...techniqueOptions(flags), speculation: "off", ...neededRoom(tests) },
    signal,
  );
  const { requests, repetitions, maxTtft: ttftMs, maxTpot: tpotMs } = flags;
  const prompts = new PromptSource(model.info.vocabSize);
  const options = { prompts, requests, repetitions, bounds: { ttftMs, tpotMs }, signal };
  const rows: ConcurrencyRow[] = [];
  for (const test of tests) {
    const row = await spin(concurrencyName(test), () => measureConcurrency(model, test, options));
    if (format !== "md") note(progressLine(row));
    rows.push(row);
  }
  await report(rows, { format, model, base, toMarkdown: concurrencyTable });
}

function listTests({ concurrency = [], nPrompt, nGen, sharedPrefix }: BenchFlags): ConcurrencyTest[] {
  if (nPrompt.includes(0)) throw new UsageError("-p: clients of --concurrency need prompts of 1 token or more");
  if (nGen.some((n) => n < 2)) throw new UsageError("-n: clients of --concurrency need 2 tokens or more to be timed");
  return nPrompt.flatMap((prompt) =>
    nGen.flatMap((gen) => concurrency.map((clients) => ({ clients, nPrompt: prompt, nGen: gen, sharedPrefix }))),
  );
}

function progressLine({ test, tokens_per_second, ttft_p50_ms, tpot_p50_ms }: ConcurrencyRow): string {
  return `${test}: ${tokens_per_second.toFixed(1)} tokens/s, TTFT ${ttft_p50_ms.toFixed(0)} ms, TPOT ${tpot_p50_ms.toFixed(1)} ms`;
}

export function concurrencyTable(rows: readonly ConcurrencyRow[], title: string, base?: readonly BaseRow[]): string {
  const pair = (p50: number, p99: number, digits: number) => `${p50.toFixed(digits)} / ${p99.toFixed(digits)}`;
  const cells: Cell<ConcurrencyRow>[] = [
    ["test", ({ test }) => test],
    ["tokens/s", ({ tokens_per_second, spread }) => `${tokens_per_second.toFixed(2)} ± ${spread.toFixed(2)}`],
    ["TTFT ms p50 / p99", ({ ttft_p50_ms, ttft_p99_ms }) => pair(ttft_p50_ms, ttft_p99_ms, 0)],
    ["TPOT ms p50 / p99", ({ tpot_p50_ms, tpot_p99_ms }) => pair(tpot_p50_ms, tpot_p99_ms, 1)],
    ["gap ms p50 / p99", ({ gap_p50_ms, gap_p99_ms }) => pair(gap_p50_ms, gap_p99_ms, 1)],
    ["requests/s", ({ requests_per_second }) => requests_per_second.toFixed(2)],
    ["goodput", ({ goodput, goodput_share }) => `${goodput.toFixed(2)} (${(goodput_share * 100).toFixed(0)} %)`],
    ...(base ? [["÷ earlier", (row) => ratioText(ratioToBase(row, base))] satisfies Cell<ConcurrencyRow>] : []),
  ];
  return toTable(rows, title, cells);
}
