/** A row of `lutra bench --concurrency`: the keys of every bench row, and what callers see. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Model } from "../../engine/index.js";
import { measureCeiling } from "../ceiling.js";
import { type BenchRow, deviation, median } from "../rows.js";
import { type ClientsRun, type ConcurrencyTest, concurrencyName, type PromptSource, runClients } from "./clients.js";
import { type Bounds, countGood, gaps, percentile, timePerOutputToken, timeToFirstToken } from "./latency.js";

export interface ConcurrencyRow extends BenchRow {
  /** Clients; `batch` is the same number. */
  concurrency: number;
  /** Tokens of the shared prefix. */
  shared_prefix: number;
  /** Requests behind the percentiles. */
  requests: number;
  ttft_p50_ms: number;
  ttft_p99_ms: number;
  tpot_p50_ms: number;
  tpot_p99_ms: number;
  gap_p50_ms: number;
  gap_p99_ms: number;
  requests_per_second: number;
  /** Requests per second, and the share of all, that kept both bounds. */
  goodput: number;
  goodput_share: number;
  max_ttft_ms: number;
  max_tpot_ms: number;
}

export interface ConcurrencyOptions {
  prompts: PromptSource;
  /** Of each client in each repetition. */
  requests: number;
  repetitions: number;
  bounds: Bounds;
  signal: AbortSignal;
}

/** Pause before each run: threads that still spin after the ceiling's measurement go to sleep. */
const settleMs = 20;

/** One request of each client comes first and does not count. */
export async function measureConcurrency(
  model: Model,
  test: ConcurrencyTest,
  options: ConcurrencyOptions,
): Promise<ConcurrencyRow> {
  const { prompts, requests, repetitions, bounds, signal } = options;
  const { threads } = model.info;
  const runs: ClientsRun[] = [];
  const ceilings: number[] = [];
  await runClients(model, test, { prompts, requests: 1, signal });
  for (let i = 0; i < repetitions; i++) {
    ceilings.push(measureCeiling(threads, 1));
    await sleep(settleMs, undefined, { signal });
    runs.push(await runClients(model, test, { prompts, requests, signal }));
  }
  return concurrencyRow(test, { runs, ceilings, threads, bounds });
}

export interface ConcurrencyInput {
  runs: readonly ClientsRun[];
  ceilings: readonly number[];
  threads: number;
  bounds: Bounds;
}

/** Speed is the median of the runs; latencies are of all their requests together. */
export function concurrencyRow(test: ConcurrencyTest, input: ConcurrencyInput): ConcurrencyRow {
  const { runs, ceilings, threads, bounds } = input;
  const requests = runs.flatMap((run) => run.requests);
  const seconds = runs.reduce((sum, { ms }) => sum + ms, 0) / 1000;
  const samples = runs.map((run) => (run.requests.length * test.nGen * 1000) / run.ms);
  const [ttft, tpot] = [requests.map(timeToFirstToken), requests.map(timePerOutputToken)];
  const between = requests.flatMap(gaps);
  const good = countGood(requests, bounds);
  return {
    test: concurrencyName(test),
    n_prompt: test.nPrompt,
    n_gen: test.nGen,
    depth: 0,
    batch: test.clients,
    threads,
    engine: "lutra",
    tokens_per_second: median(samples),
    samples,
    spread: deviation(samples),
    read_ceiling_gb_s: median(ceilings),
    share_of_ceiling: null,
    concurrency: test.clients,
    shared_prefix: test.sharedPrefix,
    requests: requests.length,
    ttft_p50_ms: percentile(ttft, 0.5),
    ttft_p99_ms: percentile(ttft, 0.99),
    tpot_p50_ms: percentile(tpot, 0.5),
    tpot_p99_ms: percentile(tpot, 0.99),
    gap_p50_ms: percentile(between, 0.5),
    gap_p99_ms: percentile(between, 0.99),
    requests_per_second: requests.length / seconds,
    goodput: good / seconds,
    goodput_share: good / requests.length,
    max_ttft_ms: bounds.ttftMs,
    max_tpot_ms: bounds.tpotMs,
  };
}
