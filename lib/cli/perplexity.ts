/** `lutra perplexity`: how well a model predicts a text. */
import type { Command } from "commander";
import { createError } from "../errors.js";
import { openModel, readText, readTextFile, type TextFlags } from "./input.js";
import {
  addCompute,
  addContext,
  addTechniques,
  type ModelFlags,
  option,
  type TechniqueFlags,
  techniqueOptions,
} from "./options.js";
import { print, printJson, runCommand, spin, UsageError } from "./terminal.js";

interface PerplexityFlags extends ModelFlags, TextFlags, TechniqueFlags {
  ids?: string;
  ctxSize?: number;
}

export function registerPerplexity(program: Command): void {
  const command = program
    .command("perplexity")
    .description("quality on a text: perplexity over windows of the context size that do not overlap")
    .argument("[text]", "the text (else -f or stdin)")
    .addOption(option("-f, --file <file>", "file with the text (-: stdin)"))
    .addOption(option("--ids <file>", "JSON array of token ids, scored as one sequence"));
  addTechniques(addContext(addCompute(command)));
  command.action((text: string | undefined, flags: PerplexityFlags) =>
    runCommand((signal) => perplexity(text, flags, command, signal)),
  );
}

async function perplexity(
  argument: string | undefined,
  flags: PerplexityFlags,
  command: Command,
  signal: AbortSignal,
): Promise<void> {
  const ids = flags.ids === undefined ? undefined : await readIds(flags.ids);
  if (ids && flags.ctxSize && flags.ctxSize < ids.length) {
    throw new UsageError(`--ids are scored as one sequence: ${ids.length} ids do not fit -c ${flags.ctxSize}`);
  }
  const input = ids ?? (await readText(argument, flags, command)).text;
  // Fewer than two ids are refused by the scoring itself.
  const contextSize = flags.ctxSize || (ids && Math.max(ids.length, 2));
  await using model = await openModel(flags, { ...techniqueOptions(flags), contextSize }, signal);
  const result = await spin("scoring", () => model.perplexity(input, { contextSize, signal }));
  if (flags.json) {
    const { ppl, tokens, scored, nll, ms } = result;
    return printJson({
      ppl,
      tokens,
      scored,
      nll,
      ms,
      n_ctx: contextSize ?? model.info.contextSize,
      approximations: [],
    });
  }
  await print(`ppl ${result.ppl.toFixed(4)} over ${result.scored} of ${result.tokens} tokens\n`);
}

async function readIds(path: string): Promise<number[]> {
  let value: unknown;
  try {
    value = JSON.parse(await readTextFile(path));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw createError("INVALID_OPTION", `--ids: ${path} is not JSON`, { cause: thrown });
  }
  if (!Array.isArray(value) || value.length === 0 || !value.every((id) => Number.isInteger(id) && id >= 0)) {
    throw createError("INVALID_OPTION", `--ids: expected ${path} to hold a JSON array of token ids`);
  }
  return value as number[];
}
