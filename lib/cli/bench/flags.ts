/** The flags of `lutra bench`. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { limits } from "../../limits.js";
import {
  addCompute,
  addTechniques,
  integer,
  number,
  type ModelFlags,
  option,
  positive,
  type TechniqueFlags,
} from "../options.js";

export type BenchFormat = "md" | "json" | "csv" | "svg";

export interface BenchFlags extends ModelFlags, TechniqueFlags {
  nPrompt: number[];
  nGen: number[];
  nDepth: number[];
  batch: number[];
  repetitions: number;
  output?: BenchFormat;
  peer?: string;
  compare?: string;
  profile?: boolean;
  concurrency?: number[];
  requests: number;
  sharedPrefix: number;
  maxTtft: number;
  maxTpot: number;
  file?: string;
  temp: number;
}

const maxValues = 64;
/** More could not all be alive on one model. */
const maxClients = limits.maxMaxSequences + limits.maxQueuedRequests;

const help = `
tokens/s: the median of the samples; spread: their standard deviation. Of a batch (-b) all streams count together:
  pp  all prompts ÷ the time until the last of them is evaluated (at a depth, less the time of the prefixes alone)
  tg  tokens from the moment the last stream's prompt is evaluated until the first stream ends
of the ceiling: bytes that generation has to read per second ÷ the read ceiling, which is measured before each sample.
  A token reads weights ÷ batch (a step reads them once for all streams) + the keys and values of its depth.
--peer measures node-llama-cpp on the same file, token ids and threads, in a process that sleeps while Lutra works, in
  alternating rounds; install it with npm install node-llama-cpp, or name the folder of its node_modules in LUTRA_PEER.
--concurrency measures clients in place of pp and tg: each sends prompts of -p tokens that no other has and reads -n
  tokens, one request after the other. tokens/s: generated ones, all clients together. TTFT: time to first token, from
  the submission. TPOT: time per output token after the first, of a request. gap: between two tokens. p50 and p99 are of
  all requests of all repetitions. goodput: requests a second whose TTFT and TPOT keep --max-ttft and --max-tpot, and their share.
With --ffn-sparsity a generation test runs once more, and says which share of the channels its tokens kept, the bytes of layer
  weights that a token needs by itself, and the share of the steps' time that choosing channels takes. The ceiling's share
  leaves the layers' weights out.
--speculation measures what drafts gain in place of pp and tg: answers of -n tokens to real prompts, with and without it in
  turns. decode: time of plain decoding ÷ time with speculation; end to end: with the prompts. A text whose end repeats
  itself counts as looping, apart from its category. Everything else is measured without speculation.
--profile adds one run to each test, of a prompt with its prefix. TypeScript's share is 1 − time of the native steps ÷ time the caller sees.`;

export function addBenchFlags(command: Command): Command {
  command
    .addOption(option("-p, --n-prompt <list>", "prompt lengths; 0: none", parseList).default([512], "512"))
    .addOption(option("-n, --n-gen <list>", "numbers of generated tokens; 0: none", parseList).default([128], "128"))
    .addOption(
      option("-d, --n-depth <list>", "tokens in the context before the measured ones", parseList).default([0], "0"),
    )
    .addOption(option("-b, --batch <list>", "streams that run together", parseBatches).default([1], "1"))
    .addOption(
      option("-r, --repetitions <n>", "samples of each test, after one that does not count", positive).default(5),
    )
    .addOption(
      option("-o, --output <format>", "form of the results (default: md)").choices(["md", "json", "csv", "svg"]),
    )
    // LUTRA_PEER names the folder the peer is in.
    .addOption(
      new Option("--peer <engine>", "measure another engine beside")
        .choices(["node-llama-cpp"])
        .env("LUTRA_BENCH_PEER"),
    )
    .addOption(option("--compare <file>", "ratios to the rows of an earlier `-o json` file"))
    .addOption(option("--profile", "where the time of a step goes, per operator"))
    .addOption(
      option("--concurrency <list>", "clients that send one request after the other", parseClients).conflicts([
        "batch",
        "nDepth",
        "peer",
        "profile",
      ]),
    )
    .addOption(option("--requests <n>", "requests of each client in each repetition", positive).default(4))
    .addOption(option("--shared-prefix <n>", "tokens that all prompts of all clients begin with", natural).default(0))
    .addOption(option("--max-ttft <ms>", "goodput: bound of the time to first token", positive).default(2000))
    .addOption(option("--max-tpot <ms>", "goodput: bound of the time per output token", positive).default(100))
    .addOption(
      option("-f, --file <file>", "prompts of --speculation, JSON lines: category, and prompt, question or turns"),
    )
    .addOption(option("--temp <t>", "temperature of --speculation", number).default(0))
    .addHelpText("after", help);
  return addTechniques(addCompute(command), "[kind]");
}

/** `1,2`, `128-512*2`, `0-4096+1024` and mixtures. */
export function parseList(text: string): number[] {
  const values = text.split(",").flatMap((item) => parseRange(item.trim()));
  if (values.length > maxValues) throw new InvalidArgumentError(`At most ${maxValues} values.`);
  return values;
}

export function parseBatches(text: string): number[] {
  const values = parseList(text);
  if (values.some((value) => value < 1 || value > limits.maxMaxSequences))
    throw new InvalidArgumentError(`Expected 1 to ${limits.maxMaxSequences} streams.`);
  return values;
}

function parseClients(text: string): number[] {
  const values = parseList(text);
  if (values.some((value) => value < 1 || value > maxClients))
    throw new InvalidArgumentError(`Expected 1 to ${maxClients} clients.`);
  return values;
}

function natural(value: string): number {
  const parsed = integer(value);
  if (parsed < 0) throw new InvalidArgumentError("Expected a whole number of at least 0.");
  return parsed;
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
