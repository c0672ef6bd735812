/** `lutra bench`: speed of prompt processing (pp) and token generation (tg), with its spread. */
import type { Command } from "commander";
import { addBenchFlags, type BenchFlags } from "./bench-flags.js";
import { runCommand } from "./terminal.js";

export function registerBench(program: Command): void {
  const command = program
    .command("bench")
    .description("measure speed; numbers may be lists (128,512) and ranges (first-last+step, first-last*factor)");
  addBenchFlags(command).action((flags: BenchFlags) =>
    runCommand(async (signal) => {
      const { runBench } = await import("./bench-run.js");
      await runBench(flags, signal);
    }),
  );
}
