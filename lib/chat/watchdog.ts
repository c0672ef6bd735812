/**
 * A time limit that holds for any synchronous JavaScript: V8's own watchdog thread interrupts the call, loops inside
 * built-ins and regular expressions included, which no counter in our code could. Costs about 0.1 ms a call.
 *
 * The watchdog counts wall time, which on a busy machine says little about the work: a render of 80 ms of CPU took 290 ms
 * at a load of 10 on two cores. So when the process was given clearly less CPU than the limit, the work is run once more,
 * with a wall time stretched accordingly. The CPU time is the whole process's, hence never an underestimate.
 */
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

/**
 * Runs `work` and returns its value, or "expired" when it took longer. Errors of `work` pass through. `work` may be cut
 * short and run a second time, so it must start afresh.
 */
export function runWithin<T>(milliseconds: number, work: () => T): { value: T } | "expired" {
  const before = process.cpuUsage();
  const first = attempt(milliseconds, work);
  if (first !== "expired") return first;
  const used = process.cpuUsage(before);
  const usedMilliseconds = Math.max(1, (used.user + used.system) / 1000);
  if (usedMilliseconds >= 0.9 * milliseconds) return "expired";
  const stretch = Math.min(maxStretch, (1.5 * milliseconds) / usedMilliseconds);
  return attempt(Math.ceil(milliseconds * stretch), work);
}
