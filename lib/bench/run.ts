/** Runs tests on the engines in turn and makes rows of them. */
import { setTimeout as sleep } from "node:timers/promises";
import { measureCeiling } from "./ceiling.js";
import { type BenchRow, benchRow } from "./rows.js";
import type { Sample } from "./streams.js";
import type { BenchTest } from "./tests.js";

/** One engine under measurement. */
export interface Subject {
  engine: string;
  bytesPerToken(test: BenchTest): number;
  measure(test: BenchTest, round: number): Promise<Sample>;
}

/** Pause before each run beside a peer: threads that still spin after the other's work go to sleep. */
const settleMs = 150;

/**
 * One row for each subject. Round 0 warms caches and clocks up and does not count; in the others the subjects alternate
 * which goes first. The read ceiling is measured before every round, so that it is of the same minute.
 */
export async function runTest(
  test: BenchTest,
  subjects: readonly Subject[],
  { repetitions, threads, signal }: { repetitions: number; threads: number; signal: AbortSignal },
): Promise<BenchRow[]> {
  const ceilings: number[] = [];
  const samples = subjects.map((): number[] => []);
  for (let round = 0; round <= repetitions; round++) {
    ceilings.push(measureCeiling(threads, 1));
    const order = [...subjects.keys()];
    if (round % 2 === 1) order.reverse();
    for (const i of order) {
      if (subjects.length > 1) await sleep(settleMs, undefined, { signal });
      const { tokens, ms } = await (subjects[i] as Subject).measure(test, round);
      if (round > 0) samples[i]?.push((tokens * 1000) / ms);
    }
  }
  return subjects.map(({ engine, bytesPerToken }, i) =>
    benchRow(test, {
      engine,
      threads,
      samples: samples[i] as number[],
      ceilings,
      bytesPerToken: bytesPerToken(test),
    }),
  );
}
