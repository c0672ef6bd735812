/** How long the event loop of this thread was held up while something ran. */
import { availableParallelism, loadavg } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Test } from "tap";

/**
 * Checks that 99 of 100 turns of the loop came within `limitMs`, for the work that `run` does. A machine on which others
 * queue for the processors says nothing about us: there the figure is printed and not judged.
 */
export async function checkLoopDelay<T>(t: Test, limitMs: number, run: () => Promise<T>): Promise<T> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const value = await run();
  delay.disable();
  const p99 = delay.percentile(99) / 1e6;
  const text = `event-loop delay p99 ${p99.toFixed(1)} ms, longest ${(delay.max / 1e6).toFixed(1)} ms`;
  const [load = 0] = loadavg();
  if (load > 2 * availableParallelism()) t.comment(`${text}; not judged at a load of ${load.toFixed(1)}`);
  else t.ok(p99 < limitMs, text);
  return value;
}
