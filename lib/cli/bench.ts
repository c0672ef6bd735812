/** `lutra bench`: speed of prompt processing (pp) and token generation (tg), or what clients see of it. */
import type { Command } from "commander";
import { addBenchFlags, type BenchFlags } from "./bench/flags.js";
import { runCommand } from "./terminal.js";

export function registerBench(program: Command): void {
  const command = program
    .command("bench")
    .description("measure speed; numbers may be lists (128,512) and ranges (first-last+step, first-last*factor)");
  addBenchFlags(command).action((flags: BenchFlags) =>
    runCommand(async (signal) => {
      if (flags.concurrency !== undefined) {
        const { runConcurrency } = await import("./bench/concurrency.js");
        return runConcurrency(flags, signal);
      }
      if (flags.speculation !== undefined && flags.speculation !== "off") {
        const { runSpeculation } = await import("./bench/speculation.js");
        return runSpeculation(flags, signal);
      }
      const { runBench } = await import("./bench/run.js");
      await runBench(flags, signal);
    }),
  );
}
