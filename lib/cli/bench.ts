/** `lutra bench`: speed of prompt processing (pp) and token generation (tg), with its spread. */
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import type { Model } from "../engine/index.js";
import { toCsv, toMarkdown } from "./bench-output.js";
import { measureCeiling } from "./doctor.js";
import { openModel } from "./input.js";
import { addCompute, type ModelFlags, option, positive } from "./options.js";
import { note, print, printJson, runCommand, spin, UsageError } from "./terminal.js";

interface BenchFlags extends ModelFlags {
  nPrompt: number[];
  nGen: number[];
  nDepth: number[];
  repetitions: number;
  output?: "md" | "json" | "csv";
}

export interface BenchRow {
  test: string;
  n_prompt: number;
  n_gen: number;
  depth: number;
  batch: number;
  threads: number;
  engine: string;
  tokens_per_second: number;
  samples: number[];
  /** Standard deviation of the samples. */
  spread: number;
  read_ceiling_gb_s: number;
  share_of_ceiling: number | null;
}

const maxValues = 64;

export function registerBench(program: Command): void {
  const command = program
    .command("bench")
    .description("measure speed; numbers may be lists (128,512) and ranges (first-last+step, first-last*factor)")
    .addOption(option("-p, --n-prompt <list>", "prompt lengths; 0: none", parseList).default([512], "512"))
    .addOption(option("-n, --n-gen <list>", "numbers of generated tokens; 0: none", parseList).default([128], "128"))
    .addOption(
      option("-d, --n-depth <list>", "tokens in the context before the measured ones", parseList).default([0], "0"),
    )
    .addOption(
      option("-r, --repetitions <n>", "samples of each test, after one that does not count", positive).default(5),
    )
    .addOption(option("-o, --output <format>", "form of the table").choices(["md", "json", "csv"]))
    .addHelpText("after", "\nspread: standard deviation of the samples, in tokens/s.");
  addCompute(command).action((flags: BenchFlags) => runCommand((signal) => bench(flags, signal)));
}

/** `1,2`, `128-512*2`, `0-4096+1024` and mixtures. */
export function parseList(text: string): number[] {
  const values = text.split(",").flatMap((item) => parseRange(item.trim()));
  if (values.length > maxValues) throw new InvalidArgumentError(`At most ${maxValues} values.`);
  return values;
}

function parseRange(text: string): number[] {
  const match = /^(\d{1,7})(?:-(\d{1,7})(?:([+*])(\d{1,7}))?)?$/.exec(text);
  if (!match) throw new InvalidArgumentError("Expected numbers such as 512, 128,512, 128-512*2 or 0-4096+1024.");
  const first = Number(match[1]);
  if (match[2] === undefined) return [first];
  const [last, step] = [Number(match[2]), Number(match[4] ?? 1)];
  const next = (value: number) => (match[3] === "*" ? value * step : value + step);
  if (last < first || next(first) <= first) throw new InvalidArgumentError(`The range ${text} does not grow.`);
  const values: number[] = [];
  for (let value = first; value <= last && values.length <= maxValues; value = next(value)) values.push(value);
  return values;
}

async function bench(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  if (flags.json && flags.output && flags.output !== "json")
    throw new UsageError(`--json and -o ${flags.output} exclude each other`);
  const format = flags.json ? "json" : (flags.output ?? "md");
  const tests = flags.nDepth.flatMap((depth) => [
    ...flags.nPrompt.filter((n) => n > 0).map((n) => ({ kind: "pp" as const, n, depth })),
    ...flags.nGen.filter((n) => n > 0).map((n) => ({ kind: "tg" as const, n, depth })),
  ]);
  if (tests.length === 0) throw new UsageError("nothing to measure: -p and -n are both 0");
  // One token more than is measured: the first generated one belongs to the prompt's step.
  const contextSize = Math.max(...tests.map(({ n, depth }) => depth + n + 2));
  await using model = await openModel(flags, { contextSize }, signal);
  const bytesPerToken = await readBytesPerToken(model);
  const ceiling = await spin("read ceiling", () => measureCeiling(model.info.threads));
  const rows: BenchRow[] = [];
  for (const test of tests) {
    const name = `${test.kind}${test.n}${test.depth > 0 ? ` @ d${test.depth}` : ""}`;
    const samples = await spin(name, () => measure(model, test, flags.repetitions, signal));
    const mean = samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
    const share = test.kind === "tg" ? (bytesPerToken * mean) / (ceiling * 1e9) : null;
    rows.push({
      test: name,
      n_prompt: test.kind === "pp" ? test.n : 0,
      n_gen: test.kind === "tg" ? test.n : 0,
      depth: test.depth,
      batch: 1,
      threads: model.info.threads,
      engine: "lutra",
      tokens_per_second: mean,
      samples,
      spread: deviation(samples, mean),
      read_ceiling_gb_s: ceiling,
      share_of_ceiling: share,
    });
    if (format !== "md") note(`${name}: ${mean.toFixed(1)} tokens/s`);
  }
  if (format === "json") await printJson(rows);
  else await print(format === "csv" ? toCsv(rows) : toMarkdown(rows, model.info));
}

interface Test {
  kind: "pp" | "tg";
  n: number;
  depth: number;
}

async function measure(model: Model, test: Test, repetitions: number, signal: AbortSignal): Promise<number[]> {
  const samples: number[] = [];
  // Run 0 warms caches and clocks up and does not count.
  for (let run = 0; run <= repetitions; run++) {
    const sample =
      test.kind === "pp"
        ? await measurePrompt(model, test, run, signal)
        : await measureDecode(model, test, run, signal);
    if (run > 0) samples.push(sample);
  }
  return samples;
}

/** At a depth: what the longer prompt takes beyond the shorter one. */
async function measurePrompt(model: Model, { n, depth }: Test, run: number, signal: AbortSignal): Promise<number> {
  const prompt = fixedPrompt(model, depth + n, run);
  const options = { maxTokens: 1, temperature: 0, ignoreEos: true, signal };
  const before = depth > 0 ? (await model.generate(prompt.slice(0, depth), options)).timings.promptMs : 0;
  const { timings } = await model.generate(prompt, options);
  return (n * 1000) / Math.max(timings.promptMs - before, 1e-3);
}

async function measureDecode(model: Model, { n, depth }: Test, run: number, signal: AbortSignal): Promise<number> {
  const prompt = fixedPrompt(model, Math.max(depth, 1), run);
  const { timings } = await model.generate(prompt, { maxTokens: n + 1, temperature: 0, ignoreEos: true, signal });
  return (n * 1000) / Math.max(timings.predictedMs, 1e-3);
}

/** The same ordinary token ids in every process, others in every run. */
function fixedPrompt(model: Model, length: number, run: number): number[] {
  const { vocabSize } = model.info;
  const low = Math.floor(vocabSize / 8);
  let state = (0x9e3779b9 ^ (run * 0x85ebca6b)) >>> 0;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return low + Math.floor((state / 2 ** 32) * (vocabSize - 2 * low));
  });
}

/** Weights a decode step reads: all of them, but of an embedding that is not also the output head one row only. */
async function readBytesPerToken(model: Model): Promise<number> {
  const { binding } = await import("../binding/index.js");
  const { tensors } = binding.inspectFile(model.info.path);
  const embedding = tensors.find(({ name }) => name === "token_embd.weight")?.sizeBytes ?? 0;
  const tied = !tensors.some(({ name }) => name === "output.weight");
  return model.estimate().weightsBytes - (tied ? 0 : embedding);
}

function deviation(samples: number[], mean: number): number {
  if (samples.length < 2) return 0;
  return Math.sqrt(samples.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / (samples.length - 1));
}
