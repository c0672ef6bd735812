/** `lutra generate`: completes a text, streaming. Only the continuation goes to stdout. */
import { type Command, InvalidArgumentError } from "commander";
import { limits } from "../limits.js";
import type { GenerateOptions, GenerateResult, LoadOptions } from "../types.js";
import { openModel, readText, readTextFile, type TextFlags, textSource } from "./input.js";
import {
  addCompute,
  addContext,
  addTechniques,
  integer,
  type ModelFlags,
  number,
  option,
  positive,
  repeatable,
  type TechniqueFlags,
  techniqueOptions,
} from "./options.js";
import { answerPromptLines } from "./prompt-lines/run.js";
import { toDocument } from "./result-document.js";
import { type Bar, createBar, note, print, printJson, runCommand, UsageError } from "./terminal.js";

interface GenerateFlags extends ModelFlags, TextFlags, TechniqueFlags {
  chat?: boolean;
  chatTemplateFile?: string;
  nPredict: number;
  ctxSize?: number;
  temp?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  typical?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  seed?: number;
  stop?: string[];
  logprobs?: number;
  timings?: boolean;
  stream: boolean;
  parallel: number;
  out?: string;
}

const help = `
Many prompts: -f FILE.jsonl, or any file with --parallel. Each line is {"prompt": "…"} or {"messages": […]}, or a string;
beside it may stand an "id", which the answer repeats, and generation options under the library's names (maxTokens,
temperature, stop, …), which win over the flags. Answers are JSON lines in the order of the prompts: "index", "id",
"input_hash" and what --json prints, or {"error": {"code", "message"}}; then the exit code is 1. With --out a run that was
stopped goes on where it ended.`;

export function registerGenerate(program: Command): void {
  const command = program
    .command("generate")
    .description("complete a text; without -p, -f or an argument the prompt is read from stdin")
    .argument("[prompt]", "the text to continue")
    .addOption(option("-p, --prompt <text>", "the text to continue"))
    .addOption(option("-f, --file <file>", "file with the text to continue (-: stdin)"))
    .addOption(option("--chat", "wrap the prompt as a user message, through the model's chat template"))
    .addOption(option("--chat-template-file <file>", "Jinja chat template in place of the model's own"))
    .addOption(
      option(
        "-n, --n-predict <n>",
        "tokens at most (-1: until the end of the text or of the context)",
        integer,
      ).default(-1),
    )
    .addOption(option("--temp <number>", "temperature; 0 always takes the likeliest token", number))
    .addOption(option("--top-k <n>", "sample among the k likeliest tokens (0: all)", integer))
    .addOption(option("--top-p <number>", "sample among the likeliest tokens of this total probability", number))
    .addOption(option("--min-p <number>", "drop tokens below this share of the likeliest one's probability", number))
    .addOption(option("--typical <number>", "locally typical sampling of this mass", number))
    .addOption(option("--repeat-penalty <number>", "divide the scores of recent tokens (1: off)", number))
    .addOption(option("--repeat-last-n <n>", "tokens the penalties look back on (-1: all)", integer))
    .addOption(option("--presence-penalty <number>", "subtract from tokens that have appeared", number))
    .addOption(option("--frequency-penalty <number>", "subtract for each time a token has appeared", number))
    .addOption(option("-s, --seed <n>", "seed: the same seed gives the same text", integer))
    .addOption(option("--stop <text>", "end before this text (repeatable)", repeatable()))
    .addOption(option("--logprobs <n>", "with --json: log-probability of each token and n alternatives", integer))
    .addOption(option("--timings", "speed, on stderr"))
    .addOption(option("--no-stream", "print the text at once when it is complete"))
    .addOption(
      option("--parallel <n>", "many prompts, one JSON value a line of -f FILE: requests at once", parallel).default(
        limits.defaultMaxSequences,
      ),
    )
    .addOption(option("-o, --out <file>", "of many prompts: append the answers to this file, after those it has"))
    .addHelpText("after", help);
  addTechniques(addContext(addCompute(command)));
  command.action((prompt: string | undefined, flags: GenerateFlags) =>
    runCommand((signal) => generate(prompt, flags, command, signal)),
  );
}

async function generate(
  argument: string | undefined,
  flags: GenerateFlags,
  command: Command,
  signal: AbortSignal,
): Promise<void> {
  if (flags.nPredict < -1) throw new UsageError("-n: expected -1 or more");
  const file = promptLinesFile(argument, flags, command);
  if (file !== undefined) return generateMany(file, flags, signal);
  if (flags.logprobs !== undefined && !flags.json) throw new UsageError("--logprobs needs --json");
  const { text, piped } = await readText(argument, flags, command);
  // The line end a file or `echo` closes with is not part of the prompt.
  const prompt = piped ? text.replace(/\r?\n$/, "") : text;
  await using model = await openModel(flags, await loadOptions(flags), signal);
  const bar = await createBar("prompt", "tokens");
  const options: GenerateOptions = { ...samplingOptions(flags), onPromptProgress: promptProgress(bar) };
  const stream = flags.chat
    ? model.chat([{ role: "user", content: prompt }], options)
    : model.generate(prompt, options);
  // Ctrl-C leaves the stream: its result then holds what there is.
  const leave = () => void stream.return();
  signal.addEventListener("abort", leave, { once: true });
  const live = flags.stream && !flags.json;
  try {
    for await (const part of stream) {
      bar.stop();
      if (live) await print(part.text);
    }
  } finally {
    bar.stop();
    signal.removeEventListener("abort", leave);
  }
  const result = await stream;
  if (flags.json) await printJson(toDocument(result));
  else if (!live) await print(result.text);
  if (!flags.json && process.stdout.isTTY) await print("\n");
  if (flags.timings) showTimings(result);
}

/** The file of prompts, or undefined where one prompt is meant. */
function promptLinesFile(argument: string | undefined, flags: GenerateFlags, command: Command): string | undefined {
  const typed = (name: string) => command.getOptionValueSource(name) === "cli";
  const file = textSource(argument, flags, command) === "file" ? flags.file : undefined;
  if (file !== undefined && (file.endsWith(".jsonl") || typed("parallel"))) return file;
  // From the environment they are for the runs they fit.
  for (const name of ["parallel", "out"])
    if (typed(name)) throw new UsageError(`--${name} is for many prompts: give them with -f FILE.jsonl`);
  return undefined;
}

async function generateMany(file: string, flags: GenerateFlags, signal: AbortSignal): Promise<void> {
  const { parallel, out, chat = false } = flags;
  const options = samplingOptions(flags);
  const load = { ...(await loadOptions(flags)), maxSequences: parallel };
  const openOne = () => openModel(flags, load, signal);
  const lines = { file, parallel, out, chat, options, openModel: openOne };
  const { answers, failed, tokens, ms } = await answerPromptLines(lines, signal);
  if (flags.timings)
    note(`generate ${tokens} tokens in ${ms.toFixed(1)} ms, ${((tokens * 1000) / ms).toFixed(1)} tokens/s`);
  if (failed === 0) return;
  note(`lutra: ${failed} of ${answers} answers ${failed === 1 ? "is an error" : "are errors"}`);
  process.exitCode = 1;
}

async function loadOptions(flags: GenerateFlags): Promise<Partial<LoadOptions>> {
  const chatTemplate = flags.chatTemplateFile === undefined ? undefined : await readTextFile(flags.chatTemplateFile);
  return { ...techniqueOptions(flags), contextSize: flags.ctxSize || undefined, chatTemplate };
}

function parallel(value: string): number {
  const parsed = positive(value);
  if (parsed > limits.maxMaxSequences) throw new InvalidArgumentError(`Expected 1 to ${limits.maxMaxSequences}.`);
  return parsed;
}

function samplingOptions(flags: GenerateFlags): GenerateOptions {
  const options: GenerateOptions = {
    maxTokens: flags.nPredict === -1 ? undefined : flags.nPredict,
    temperature: flags.temp,
    topK: flags.topK,
    topP: flags.topP,
    minP: flags.minP,
    typicalP: flags.typical,
    repeatPenalty: flags.repeatPenalty,
    repeatLastN: flags.repeatLastN,
    presencePenalty: flags.presencePenalty,
    frequencyPenalty: flags.frequencyPenalty,
    seed: flags.seed,
    stop: flags.stop,
    logprobs: flags.logprobs,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Short prompts show no bar. */
function promptProgress(bar: Bar): NonNullable<GenerateOptions["onPromptProgress"]> {
  return ({ processedTokens, totalTokens }) => {
    if (totalTokens > 256) bar.update(processedTokens, totalTokens);
  };
}

function showTimings({ usage, timings }: GenerateResult): void {
  const line = (name: string, tokens: number, ms: number, perSecond: number) =>
    note(
      `${name.padEnd(9)}${String(tokens).padStart(6)} tokens ${ms.toFixed(1).padStart(10)} ms ${perSecond.toFixed(1).padStart(9)} tokens/s`,
    );
  note(`${"load".padEnd(9)}${"".padStart(14)}${timings.loadMs.toFixed(1).padStart(10)} ms`);
  line("prompt", usage.promptTokens, timings.promptMs, timings.promptPerSecond);
  line("generate", usage.completionTokens, timings.predictedMs, timings.predictedPerSecond);
  if (timings.approximations.length > 0) note(`approximations: ${timings.approximations.join(", ")}`);
}
