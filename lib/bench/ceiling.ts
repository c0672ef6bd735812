/** The machine's read ceiling: what a read-only stream gets from memory with as many threads. */
import { binding } from "../binding/index.js";

/** Larger than any last-level cache this is likely to meet. */
const megabytes = 256;
const maxAgeMs = 60_000;

/** GB/s, the best of three streams: what the memory can give, not what it gave at a bad moment. */
export function measureCeiling(threads: number): number {
  let best = 0;
  for (let run = 0; run < 3; run++) best = Math.max(best, binding.measureReadCeiling(megabytes, threads));
  return best / 1e9;
}

/** The ceilings of one test: the first just before it, another whenever the last is a minute old. */
export class CeilingSeries {
  readonly values: number[] = [];
  private measuredMs_ = Number.NEGATIVE_INFINITY;

  constructor(private readonly threads_: number) {}

  refresh(): void {
    if (performance.now() - this.measuredMs_ < maxAgeMs) return;
    this.values.push(measureCeiling(this.threads_));
    this.measuredMs_ = performance.now();
  }
}
