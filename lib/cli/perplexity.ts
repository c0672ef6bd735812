/** `lutra perplexity`: how well a model predicts a text. */
import type { Command } from "commander";
import { createError } from "../errors.js";
import type { ExactDistance, PerplexityBucket, PerplexityComparison, PerplexityOptions } from "../types.js";
import { openModel, readText, readTextFile, type TextFlags } from "./input.js";
import {
  addCompute,
  addContext,
  addTechniques,
  integer,
  type ModelFlags,
  option,
  type TechniqueFlags,
  techniqueOptions,
} from "./options.js";
import { sparsityDocument } from "./sparsity-document.js";
import { note, print, printJson, runCommand, spin, UsageError } from "./terminal.js";

interface PerplexityFlags extends ModelFlags, TextFlags, TechniqueFlags {
  ids?: string;
  ctxSize?: number;
  against?: string;
  exactTokens?: number;
}

export function registerPerplexity(program: Command): void {
  const command = program
    .command("perplexity")
    .description("quality on a text: perplexity over windows of the context size that do not overlap")
    .argument("[text]", "the text (else -f or stdin)")
    .addOption(option("-f, --file <file>", "file with the text (-: stdin)"))
    .addOption(option("--ids <file>", "JSON array of token ids, scored as one sequence"))
    .addOption(option("--against <kind>", "how far predictions are from exact computation: exact"))
    .addOption(
      option("--exact-tokens <n>", "with --against: first tokens of each window that are exact, uncompared", integer),
    );
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
  const { against, exactTokens } = flags;
  // A comparison brings its own engines: the model's has little to keep.
  const options = against === undefined ? {} : { maxSequences: 1 };
  await using model = await openModel(flags, { ...techniqueOptions(flags), ...options, contextSize }, signal);
  const call = { contextSize, against, exactTokens, signal } as PerplexityOptions;
  const result = await spin("scoring", () => model.perplexity(input, call));
  if (flags.json) {
    const { ppl, tokens, scored, nll, ms, approximations, sparsity } = result;
    return printJson({
      ppl,
      tokens,
      scored,
      nll,
      ms,
      n_ctx: contextSize ?? model.info.contextSize,
      approximations,
      ...sparsityDocument(sparsity),
      ...(result.against && comparisonDocument(result.against)),
    });
  }
  await print(`ppl ${result.ppl.toFixed(4)} over ${result.scored} of ${result.tokens} tokens\n`);
  for (const approximation of result.approximations) note(`approximation: ${approximation}`);
  const { buckets = [] } = result.against ?? {};
  for (const bucket of buckets) await print(`${describeBucket(bucket)}\n`);
}

function comparisonDocument({ ppl, buckets, ...distance }: PerplexityComparison): object {
  return {
    ppl_against: ppl,
    ...distanceDocument(distance),
    // The last bucket ends nowhere: null.
    buckets: buckets.map(({ from, to, tokens, ppl, pplAgainst, ...distance }) => ({
      from,
      to,
      tokens,
      ppl,
      ppl_against: pplAgainst,
      ...distanceDocument(distance),
    })),
  };
}

function distanceDocument({ klMean, klP99, top1Agreement, attention, sparsity }: ExactDistance): object {
  const distances = { kl_mean: klMean, kl_p99: klP99, top1_agreement: top1Agreement };
  return { ...distances, ...attention, ...sparsityDocument(sparsity) };
}

function describeBucket({ from, to, tokens, ...distance }: PerplexityBucket): string {
  const { ppl, pplAgainst, klMean, klP99, top1Agreement, attention, sparsity } = distance;
  const end = Number.isFinite(to) ? ` to ${to}` : " on";
  const perplexities = `ppl ${ppl.toFixed(4)} against ${pplAgainst.toFixed(4)} exact`;
  const divergence = `KL ${klMean.toPrecision(3)} (99 %: ${klP99.toPrecision(3)})`;
  const agreement = `top-1 ${(100 * top1Agreement).toFixed(2)} %`;
  const read = attention ? `, ${(100 * attention.kept).toFixed(1)} % of keys read` : "";
  const kept = sparsity ? `, ${(100 * sparsity.kept).toFixed(1)} % of channels kept` : "";
  return `from ${from}${end}: ${perplexities}, ${divergence}, ${agreement}${read}${kept}, ${tokens} tokens`;
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
