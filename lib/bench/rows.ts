/** One row of results: the shape of `lutra bench -o json`. */
import type { BenchProfile } from "./profile.js";
import type { BenchSparsity } from "./sparsity.js";
import { type BenchTest, testName } from "./tests.js";

export interface BenchRow extends Partial<BenchSparsity> {
  test: string;
  n_prompt: number;
  n_gen: number;
  depth: number;
  batch: number;
  threads: number;
  engine: string;
  /** Median of the samples; tokens of all streams together. */
  tokens_per_second: number;
  samples: number[];
  /** Standard deviation of the samples. */
  spread: number;
  /** What the memory gave between the samples, the median. */
  read_ceiling_gb_s: number;
  /** Of a generation test: bytes it has to read per second ÷ the read ceiling. */
  share_of_ceiling: number | null;
  /** How Lutra attended, where that was not exact: `nomad refine d2`. */
  attention?: string;
  /** How Lutra's layers skipped channels, of a generation test: `wina 0.60`. */
  ffn_sparsity?: string;
  /** How Lutra multiplied, where that was not by multiply-adds alone: `lut exact`, `lut of Q2_K 576x1536`. */
  matmul?: string;
  /** Only where it was asked for. */
  profile?: BenchProfile;
}

export interface RowInput {
  engine: string;
  threads: number;
  samples: number[];
  ceilings: number[];
  /** Bytes each generated token has to read. */
  bytesPerToken: number;
}

export function benchRow(test: BenchTest, { engine, threads, samples, ceilings, bytesPerToken }: RowInput): BenchRow {
  const speed = median(samples);
  const ceiling = median(ceilings);
  return {
    test: testName(test),
    n_prompt: test.kind === "pp" ? test.n : 0,
    n_gen: test.kind === "tg" ? test.n : 0,
    depth: test.depth,
    batch: test.batch,
    threads,
    engine,
    tokens_per_second: speed,
    samples,
    spread: deviation(samples),
    read_ceiling_gb_s: ceiling,
    share_of_ceiling: test.kind === "tg" ? (bytesPerToken * speed) / (ceiling * 1e9) : null,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[middle - 1], sorted[middle]] as [number, number];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

export function deviation(samples: readonly number[]): number {
  if (samples.length < 2) return 0;
  const mean = samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
  return Math.sqrt(samples.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / (samples.length - 1));
}
