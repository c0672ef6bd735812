/** `lutra generate`: completes a text, streaming. Only the continuation goes to stdout. */
import type { Command } from "commander";
import type { GenerateOptions, GenerateResult } from "../types.js";
import { openModel, readText, readTextFile, type TextFlags } from "./input.js";
import {
  addCompute,
  addContext,
  addTechniques,
  integer,
  type ModelFlags,
  number,
  option,
  repeatable,
  type TechniqueFlags,
  techniqueOptions,
} from "./options.js";
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
}

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
    .addOption(option("--no-stream", "print the text at once when it is complete"));
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
  if (flags.logprobs !== undefined && !flags.json) throw new UsageError("--logprobs needs --json");
  if (flags.nPredict < -1) throw new UsageError("-n: expected -1 or more");
  const { text, piped } = await readText(argument, flags, command);
  // The line end a file or `echo` closes with is not part of the prompt.
  const prompt = piped ? text.replace(/\r?\n$/, "") : text;
  const chatTemplate = flags.chatTemplateFile === undefined ? undefined : await readTextFile(flags.chatTemplateFile);
  await using model = await openModel(
    flags,
    { ...techniqueOptions(flags), contextSize: flags.ctxSize || undefined, chatTemplate },
    signal,
  );
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

function toDocument({ text, tokens, finishReason, usage, timings, speculation, logprobs }: GenerateResult) {
  return {
    text,
    tokens,
    finish_reason: finishReason,
    usage: {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
    },
    timings: {
      load_ms: timings.loadMs,
      prompt_ms: timings.promptMs,
      prompt_per_second: timings.promptPerSecond,
      predicted_ms: timings.predictedMs,
      predicted_per_second: timings.predictedPerSecond,
      approximations: timings.approximations,
    },
    speculation: {
      steps: speculation.steps,
      drafted: speculation.drafted,
      accepted: speculation.accepted,
      mean_accepted: speculation.meanAccepted,
      per_drafter: speculation.perDrafter,
    },
    ...(logprobs && logprobs.length > 0 && { logprobs }),
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
