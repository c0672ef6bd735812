/**
 * A time limit that holds for any synchronous JavaScript: V8's own watchdog thread interrupts the call, loops inside
 * built-ins and regular expressions included, which no counter in our code could. Costs about 0.1 ms a call.
 */
import vm from "node:vm";

const script = new vm.Script("run()");
let context: { run: (() => void) | undefined } | undefined;

/** Runs `work` and returns its value, or "expired" when it took longer. Errors of `work` pass through. */
export function runWithin<T>(milliseconds: number, work: () => T): { value: T } | "expired" {
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
