/**
 * Pass-key retrieval: a number stands at one of ten depths of 2k, 4k or 7k tokens of filler, and is asked for at the end. What
 * exact attention answers, what lookup attention answers, and how far they agree.
 *
 * `generate`: greedy, through the public API. A prompt attends exactly, so only the answer's rows, each from the second token
 * on, are approximate. `question`: the tokens of the question attend approximately too, and so does the whole answer: question
 * and answer are scored with `exactTokens` at the question's position, and a hit is a key that is the most probable token at
 * each of its places.
 *
 *   node bench/attention/passkey.mjs [--model NAME|PATH] [--threads 2] [--lengths 2000,4000,7000] [--depths 10]
 *     [--attention '{"mode":"refine"}'] [--only generate,question] [--out FILE]
 *
 * Writes bench/results/<date>-nomad-passkey.json and prints a Markdown table.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { markdownTable } from "../compare/table.mjs";
import { passkeyPrompt } from "./passkey-prompt.mjs";

const answerTokens = 8;
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    lengths: { type: "string", default: "2000,4000,7000" },
    depths: { type: "string", default: "10" },
    attention: { type: "string", default: "{}" },
    only: { type: "string", default: "generate,question" },
    out: { type: "string" },
  },
});
const [threads, depths] = [flags.threads, flags.depths].map(Number);
const lengths = flags.lengths.split(",").map(Number);
const modes = flags.only.split(",");
const unknown = modes.find((mode) => mode !== "generate" && mode !== "question");
if (unknown !== undefined || ![threads, depths, ...lengths].every((value) => Number.isInteger(value) && value >= 1)) {
  console.error(unknown === undefined ? "numbers are whole numbers from 1" : `unknown mode ${unknown}`);
  process.exit(2);
}

const run = describeRun(root);
const contextSize = Math.max(...lengths) + 64;
const load = (attention) => loadModel(flags.model, { threads, contextSize, maxSequences: 1, attention });
const exact = await load("exact");
const nomad = await load({ type: "nomad", ...JSON.parse(flags.attention) });
for (const warning of nomad.info.warnings) console.error(`warning: ${warning}`);
const rows = [];
for (const length of lengths) {
  for (let depth = 0; depth < depths; depth++) {
    const prompt = passkeyPrompt(exact, length, depth / Math.max(1, depths - 1));
    const row = { length, depth, key: prompt.key, promptTokens: prompt.ids.length };
    if (modes.includes("generate")) row.generate = await generate(prompt);
    if (modes.includes("question")) row.question = await ask(prompt);
    rows.push(row);
    console.error(JSON.stringify(row));
  }
}
await Promise.all([exact.dispose(), nomad.dispose()]);
const { codebooks: _path, ...attention } = nomad.info.attention;
const summary = modes.flatMap((mode) => lengths.map((length) => summarize(mode, length)));
const kept = { threads, lengths, depths, attention };
writeResults(root, "nomad-passkey", { ...run, model: basename(flags.model), flags: kept, summary, rows }, flags.out);
const columns = ["mode", "tokens", "hits exact", "hits nomad", "same hit", "same tokens"];
console.log(`\n${markdownTable(columns, summary.map(toCells))}`);

async function generate({ ids, key }) {
  const options = { maxTokens: answerTokens, temperature: 0, ignoreEos: true, cachePrompt: false };
  const answers = [];
  for (const model of [exact, nomad]) answers.push(await model.generate(ids, options));
  const [ours, theirs] = answers.map(({ tokens }) => tokens);
  return {
    exactHit: answers[0].text.includes(key),
    nomadHit: answers[1].text.includes(key),
    same: ours.filter((token, i) => token === theirs[i]).length,
    of: ours.length,
    exactText: answers[0].text,
    nomadText: answers[1].text,
    read: answers[1].attention,
  };
}

async function ask({ ids, questionAt, key }) {
  const answer = nomad.tokenize(` ${key}`, { addSpecial: false });
  const { against } = await nomad.perplexity([...ids, ...answer], { against: "exact", exactTokens: questionAt });
  const [ours, theirs] = [against.rows.exactTops, against.rows.tops].map((tops) => [...tops.slice(-answer.length)]);
  return {
    exactHit: answer.every((token, i) => token === ours[i]),
    nomadHit: answer.every((token, i) => token === theirs[i]),
    same: ours.filter((token, i) => token === theirs[i]).length,
    of: answer.length,
    klMean: against.klMean,
    read: against.attention,
  };
}

function summarize(mode, length) {
  const found = rows.filter((row) => row.length === length).map((row) => row[mode]);
  const count = (test) => found.filter(test).length;
  const sum = (name) => found.reduce((total, each) => total + each[name], 0);
  return {
    mode,
    length,
    prompts: found.length,
    exactHits: count(({ exactHit }) => exactHit),
    nomadHits: count(({ nomadHit }) => nomadHit),
    sameHits: count(({ exactHit, nomadHit }) => exactHit === nomadHit),
    sameTokens: sum("same"),
    tokens: sum("of"),
  };
}

function toCells({ mode, length, prompts, exactHits, nomadHits, sameHits, sameTokens, tokens }) {
  return [mode, length, ...[exactHits, nomadHits, sameHits].map((n) => `${n}/${prompts}`), `${sameTokens}/${tokens}`];
}
