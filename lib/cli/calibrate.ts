/** `lutra calibrate`: codebooks for lookup attention from the caller's own text. */
import type { Command } from "commander";
import type { CalibrateOptions } from "../types.js";
import { readText, type TextFlags, withProgress } from "./input.js";
import { addCompute, addContext, integer, type ModelFlags, option } from "./options.js";
import { print, printJson, runCommand, spin } from "./terminal.js";

interface CalibrateFlags extends ModelFlags, TextFlags {
  dSub?: number;
  outliers?: number;
  ctxSize?: number;
  out?: string;
}

const help = `
The text, at least 512 tokens and best of the kind that the model will read, runs through the model once, up to its context;
longer texts are cut. What is written is used by every later --attention nomad with the same --d-sub and --outliers (the
built-in text's codebooks are replaced), or, with -o, by --attention nomad:codebooks=FILE.`;

export function registerCalibrate(program: Command): void {
  const command = program
    .command("calibrate")
    .description("codebooks for lookup attention (--attention nomad), from a text of yours")
    .argument("[text]", "the text (else -f or stdin)")
    .addOption(option("-f, --file <file>", "file with the text (-: stdin)"))
    .addOption(option("--d-sub <n>", "dimensions of a sub-vector: 1, 2 (default) or 4", integer))
    .addOption(option("--outliers <n>", "dimensions of a head that are kept in 8 bits (default: 0)", integer))
    .addOption(option("-o, --out <file>", "the file to write (default: the model's own, in the cache folder)"))
    .addHelpText("after", help);
  addContext(addCompute(command));
  command.action((text: string | undefined, flags: CalibrateFlags) =>
    runCommand((signal) => run(text, flags, command, signal)),
  );
}

async function run(
  argument: string | undefined,
  flags: CalibrateFlags,
  command: Command,
  signal: AbortSignal,
): Promise<void> {
  const { text } = await readText(argument, flags, command);
  const { calibrate } = await import("../engine/index.js");
  const { dSub, outliers, out: file } = flags;
  const options = { text, dSub, outliers, file, contextSize: flags.ctxSize || undefined, signal } as CalibrateOptions;
  const result = await withProgress(flags, (common) =>
    spin("calibrating", () => calibrate(flags.model, { ...common, ...options })),
  );
  if (flags.json) {
    const { tokens, contextSize, ms } = result;
    return printJson({
      file: result.file,
      d_sub: result.dSub,
      outliers: result.outliers,
      tokens,
      n_ctx: contextSize,
      ms,
    });
  }
  await print(`${result.file}: from ${result.tokens} tokens in ${(result.ms / 1000).toFixed(1)} s\n`);
}
