/** `lutra calibrate`: codebooks for lookup attention, or a calibration of activation sparsity, from the caller's own text. */
import { type Command, Option } from "commander";
import type { CalibrateOptions, CalibrateSparsityOptions } from "../types.js";
import { readText, type TextFlags, textSource, withProgress } from "./input.js";
import { addCompute, addContext, integer, type ModelFlags, option, positive, techniqueOption } from "./options.js";
import { print, printJson, runCommand, spin, UsageError } from "./terminal.js";

interface CalibrateFlags extends ModelFlags, TextFlags {
  dSub?: number;
  outliers?: number;
  ffnSparsity?: string;
  maxTokens?: number;
  ctxSize?: number;
  out?: string;
}

const help = `
The text, at least 512 tokens and best of the kind that the model will read, runs through the model once, up to its context;
longer texts are cut. What is written is used by every later --attention nomad with the same --d-sub and --outliers (the
built-in text's codebooks are replaced), or, with -o, by --attention nomad:codebooks=FILE.

With --ffn-sparsity it is a calibration of sparse feed-forward layers, for --ffn-sparsity TYPE:KEEP,calibration=FILE: how large
the inputs of products are, and how much of what each layer can do without. Without a text it comes from a built-in one.`;

export function registerCalibrate(program: Command): void {
  const command = program
    .command("calibrate")
    .description("codebooks for --attention nomad, or a calibration of --ffn-sparsity, from a text of yours")
    .argument("[text]", "the text (else -f or stdin)")
    .addOption(option("-f, --file <file>", "file with the text (-: stdin)"))
    .addOption(option("--d-sub <n>", "dimensions of a sub-vector: 1, 2 (default) or 4", integer))
    .addOption(option("--outliers <n>", "dimensions of a head that are kept in 8 bits (default: 0)", integer))
    // Without a variable: that of other commands says what models are loaded with.
    .addOption(new Option("--ffn-sparsity <type>", "calibrate this instead: teal, wina:attention=true, …"))
    .addOption(option("--max-tokens <n>", "of the text, with --ffn-sparsity (default: 1024)", positive))
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
  if (flags.ffnSparsity !== undefined) return runSparsity(argument, flags, command, signal);
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

async function runSparsity(
  argument: string | undefined,
  flags: CalibrateFlags,
  command: Command,
  signal: AbortSignal,
): Promise<void> {
  const foreign = (["dSub", "outliers", "ctxSize"] as const).find(
    (name) => command.getOptionValueSource(name) === "cli",
  );
  if (foreign !== undefined) throw new UsageError(`${foreign} is of codebooks, not of --ffn-sparsity`);
  const isGiven = textSource(argument, flags, command) !== "stdin";
  const text = isGiven ? (await readText(argument, flags, command)).text : undefined;
  const { calibrateSparsity } = await import("../engine/index.js");
  const { maxTokens, out: file } = flags;
  const named = techniqueOption(flags.ffnSparsity, "keep");
  const ffnSparsity = typeof named === "string" ? { type: named } : named;
  const options = { ffnSparsity, text, maxTokens, file, signal } as CalibrateSparsityOptions;
  const result = await withProgress(flags, (common) =>
    spin("calibrating", () => calibrateSparsity(flags.model, { ...common, ...options })),
  );
  if (flags.json) return printJson({ file: result.file, tokens: result.tokens, ms: result.ms });
  await print(`${result.file}: from ${result.tokens} tokens in ${(result.ms / 1000).toFixed(1)} s\n`);
}
