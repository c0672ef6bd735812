/**
 * A time limit that holds for any synchronous JavaScript: V8's own watchdog thread interrupts the call, loops inside
 * built-ins and regular expressions included, which no counter in our code could. Costs about 0.1 ms a call.
 *
 * The watchdog counts wall time, which on a busy machine says little about the work: a render of 80 ms of CPU took 290 ms
 * at a load of 10 on two cores. So when the thread was given clearly less CPU than the limit, the work is run once more,
 * with a wall time stretched accordingly. Where a thread's CPU time cannot be had, the whole process's stands for it.
 */
import { readFileSync } from "node:fs";
import vm from "node:vm";

const script = new vm.Script("run()");
let context: { run: (() => void) | undefined } | undefined;
const maxStretch = 8;

function attempt<T>(milliseconds: number, work: () => T): { value: T } | "expired" {
  context ??= vm.createContext({ run: undefined }) as { run: (() => void) | undefined };
  let done: { value: T } | undefined;
  const outer = context.run;
  context.run = () => {
    done = { value: work() };
  };
  try {
    script.runInContext(context, { timeout: milliseconds });
  } catch (error) {
    if ((error as { code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return "expired";
    throw error;
  } finally {
    context.run = outer;
  }
  return done ?? "expired";
}

/** CPU time of this thread: an engine's threads, busy beside it, would make any render look long. */
function cpuMilliseconds(): number {
  try {
    // Its first number: nanoseconds on a CPU.
    return Number.parseInt(readFileSync("/proc/thread-self/schedstat", "utf8"), 10) / 1e6;
  } catch {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  }
}

/**
 * Runs `work` and returns its value, or "expired" when it took longer. Errors of `work` pass through. `work` may be cut
 * short and run a second time, so it must start afresh.
 */
export function runWithin<T>(milliseconds: number, work: () => T): { value: T } | "expired" {
  const before = cpuMilliseconds();
  const first = attempt(milliseconds, work);
  if (first !== "expired") return first;
  const usedMilliseconds = Math.max(1, cpuMilliseconds() - before);
  if (usedMilliseconds >= 0.9 * milliseconds) return "expired";
  const stretch = Math.min(maxStretch, (1.5 * milliseconds) / usedMilliseconds);
  return attempt(Math.ceil(milliseconds * stretch), work);
}
