/** The machine's read ceiling: what a read-only stream gets from memory with as many threads. */
import { binding } from "../binding/index.js";

/** Larger than any last-level cache this is likely to meet. */
const megabytes = 256;

/** GB/s, the best of some streams: what the memory can give, not what it gave at a bad moment. */
export function measureCeiling(threads: number, streams = 3): number {
  let best = 0;
  for (let run = 0; run < streams; run++) best = Math.max(best, binding.measureReadCeiling(megabytes, threads));
  return best / 1e9;
}
