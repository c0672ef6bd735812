/**
 * What llama.cpp's own lookup drafting (its llama-lookup program: n-grams of prompt and output) gains on the prompts of these
 * benches, for several lengths of draft, against the same program drafting nothing, in turns.
 *
 *   node bench/speculation/llama-lookup.mjs --llama-lookup PROGRAM --llama-version TEXT [--model NAME|PATH] [--prompts 4]
 *     [--tokens 160] [--drafts 2,4,8] [--rounds 2] [--threads 2] [--out FILE]
 *
 * Writes bench/results/<date>-speculation-llama-lookup.json and prints a Markdown table.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { renderChat } from "../../dist/esm/chat/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { median } from "../compare/samples.mjs";
import { markdownTable } from "../compare/table.mjs";
import { categories, readPrompts } from "./prompts.mjs";

const execute = promisify(execFile);
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    "llama-lookup": { type: "string" },
    "llama-version": { type: "string" },
    model: { type: "string", default: "smollm2-135m-instruct" },
    prompts: { type: "string", default: "4" },
    tokens: { type: "string", default: "160" },
    drafts: { type: "string", default: "2,4,8" },
    rounds: { type: "string", default: "2" },
    threads: { type: "string", default: "2" },
    out: { type: "string" },
  },
});
const [program, version] = [flags["llama-lookup"], flags["llama-version"]];
if (program === undefined || version === undefined) {
  console.error("--llama-lookup names the program, --llama-version what it was built from");
  process.exit(2);
}
const drafts = flags.drafts.split(",").map(Number);
const [tokens, rounds, threads] = [flags.tokens, flags.rounds, flags.threads].map(Number);

const run = describeRun(root);
const model = await loadModel(flags.model, { threads, contextSize: 256 });
const { chatTemplate, path } = model.info;
await model.dispose();
const folder = mkdtempSync(join(tmpdir(), "lutra-lookup-"));
const rows = [];
for (const { id, category, text, begin = "" } of readPrompts(Number(flags.prompts))) {
  const prompt = chatTemplate === null ? `${text}\n\n${begin}` : renderChat(chatTemplate, [{ role: "user", content: text }]) + begin;
  const times = new Map([0, ...drafts].map((draft) => [draft, []]));
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [0, ...drafts] : [...drafts, 0];
    for (const draft of order) times.get(draft).push(await decodeMs(prompt, draft));
  }
  const plain = median(times.get(0));
  const speedups = drafts.map((draft) => plain / median(times.get(draft)));
  rows.push({ id, category, plainMsAToken: plain, speedups });
  console.error(`${id}: ${speedups.map((value) => value.toFixed(2)).join(", ")}`);
}
rmSync(folder, { recursive: true });

const summary = categories.map((category) => {
  const own = rows.filter((row) => row.category === category);
  return { category, prompts: own.length, speedups: drafts.map((_, i) => median(own.map(({ speedups }) => speedups[i]))) };
});
const kept = { tokens, rounds, threads, drafts, version };
writeResults(root, "speculation-llama-lookup", { ...run, model: basename(flags.model), flags: kept, summary, rows }, flags.out);
const cells = summary.map(({ category, prompts, speedups }) => [category, prompts, ...speedups.map((value) => value.toFixed(2))]);
console.log(markdownTable(["category", "prompts", ...drafts.map((draft) => `at most ${draft}`)], cells));

/** Milliseconds a token of its decoding. It writes a cache of n-grams where it is told to: a new file each time. */
async function decodeMs(prompt, draft) {
  const [file, cache] = [join(folder, "prompt"), join(folder, "cache")];
  writeFileSync(file, prompt);
  const lengths = ["-n", String(tokens), "-c", "4096", "--spec-draft-n-max", String(draft)];
  const settings = ["-m", path, "-f", file, "-t", String(threads), "--temp", "0", "-lcd", cache, ...lengths];
  const { stdout, stderr } = await execute(program, settings, { maxBuffer: 64 << 20 });
  rmSync(cache, { force: true });
  const found = /decoded +(\d+) tokens in +([\d.]+) seconds/.exec(stdout + stderr);
  if (found === null) throw new Error(`no time in what it printed: ${stderr.slice(-300)}`);
  return (1000 * Number(found[2])) / Number(found[1]);
}
