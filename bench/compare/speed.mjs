/**
 * Lutra against node-llama-cpp on the same model files, tokens and threads, in one run: pp512 (512 tokens of real text
 * evaluated once), tg128 (128 greedy tokens after 8 of text, the prompt's time included), load time, peak memory, and
 * the machine's read ceiling between the rounds. Each engine is a process of its own that sleeps while the other works;
 * rounds alternate which goes first, and every round has other tokens, so no prefix is ever there to be reused.
 *
 *   node bench/compare/install-peer.mjs
 *   npm run bench:compare -- [--rounds 5] [--threads 2] [--model NAME|PATH]… [--text FILE] [--out FILE]
 *
 * Writes bench/results/<date>-compare.json and prints a Markdown table.
 */
import { fork } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { binding } from "../../dist/esm/binding/index.js";
import { resolveModel } from "../../dist/esm/models/index.js";
import { contextSize, engines } from "./engines.mjs";
import { describeRun, writeResults } from "./machine.mjs";
import { installedPeer } from "./peer-folder.mjs";
import { summarize } from "./samples.mjs";
import { toMarkdown } from "./table.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    model: { type: "string", multiple: true, default: ["smollm2-135m-instruct", "gemma-3-270m"] },
    out: { type: "string" },
    text: { type: "string" },
  },
});
const [rounds, threads] = [Number(flags.rounds), Number(flags.threads)];
if (!(Number.isInteger(rounds) && rounds >= 1 && Number.isInteger(threads) && threads >= 1)) {
  console.error("--rounds and --threads are whole numbers from 1");
  process.exit(2);
}
const promptTokens = 512;
const generatedTokens = 128;
const decodePromptTokens = 8;
const ceilingMegabytes = 256;
const settleMs = 150;
const names = Object.keys(engines);

if (installedPeer() === null) {
  console.error("node-llama-cpp is not installed: node bench/compare/install-peer.mjs");
  process.exit(1);
}

/** A text beside the repository when it is there, else the repository's own prose. */
function readText() {
  const shared = join(process.env.LUTRA_SHARED ?? join(root, "..", "shared"), "data", "wikitext2-valid.txt");
  const path = [flags.text, shared, join(root, "LICENSE")].find((candidate) => candidate && existsSync(candidate));
  return { name: basename(path), text: readFileSync(path, "utf8").slice(0, 200_000) };
}

function startEngine(name) {
  const child = fork(join(here, "engine-child.mjs"), [name, String(threads)]);
  const answer = () =>
    new Promise((done, failed) => {
      const lost = (code) => failed(new Error(`${name} ended with code ${code}`));
      child.once("exit", lost);
      child.once("message", ({ result, error }) => {
        child.off("exit", lost);
        if (error) failed(new Error(`${name}: ${error}`));
        else done(result);
      });
    });
  const ready = answer();
  const ask = (task, input = {}) => {
    const answered = answer();
    child.send({ task, ...input });
    return answered;
  };
  return { name, child, ready, ask };
}

/** Runs one task on each engine in turn; `idleMs` is processor time the waiting one took meanwhile. */
async function alternate(children, round, task, input) {
  const order = round % 2 === 0 ? children : [...children].reverse();
  const results = {};
  for (const engine of order) {
    const other = children.find((child) => child !== engine);
    await sleep(settleMs);
    const before = await other.ask("cpu");
    const result = await engine.ask(task, input);
    const after = await other.ask("cpu");
    results[engine.name] = { ...result, idleMs: (after.user + after.system - before.user - before.system) / 1000 };
  }
  return results;
}

/** Ids of the text, and the slice of round `round`: never the same beginning twice. */
function tokenSource(path, text) {
  const tokenizer = binding.tokenizerAcquire(path);
  const { bos, addBos } = binding.vocab(tokenizer);
  const ids = [...binding.encode(tokenizer, text, false, false)];
  binding.tokenizerRelease(tokenizer);
  const first = addBos ? [bos] : [];
  return (round, n) => {
    const start = (round * 389) % (ids.length - n);
    return [...first, ...ids.slice(start, start + n - first.length)];
  };
}

/** Bytes of the weights one token needs: all but an embedding that is not the head too. */
function readBytesPerToken(path) {
  const { tensors } = binding.inspectFile(path);
  const untied = tensors.some(({ name }) => name === "output.weight");
  return tensors.reduce(
    (sum, { name, sizeBytes }) => (untied && name === "token_embd.weight" ? sum : sum + sizeBytes),
    0,
  );
}

async function measureModel(model, text) {
  const path = await resolveModel(model, { offline: process.env.LUTRA_OFFLINE === "1" });
  const take = tokenSource(path, text);
  const children = names.map(startEngine);
  const base = await Promise.all(children.map(({ ready }) => ready));
  const runs = Object.fromEntries(names.map((name) => [name, { load: [], pp: [], tg: [], idle: [] }]));
  const first = await alternate(children, 0, "load", { path });
  const loaded = await Promise.all(children.map(({ ask }) => ask("memory")));
  const work = [
    ["prompt", "pp", (round) => ({ ids: take(round, promptTokens) })],
    ["decode", "tg", (round) => ({ ids: take(round, decodePromptTokens), n: generatedTokens })],
  ];
  // Round 0 warms up and does not count; the peak after it is that of one load and both tests.
  for (const [task, , input] of work) await alternate(children, 0, task, input(0));
  const memory = await Promise.all(children.map(({ ask }) => ask("memory")));
  for (let round = 0; round < rounds; round++) {
    await Promise.all(children.map(({ ask }) => ask("unload")));
    const loads = await alternate(children, round, "load", { path });
    for (const name of names) runs[name].load.push(loads[name].ms);
  }
  const ceilings = [];
  const agreed = [];
  for (let round = 1; round <= rounds; round++) {
    ceilings.push(binding.measureReadCeiling(ceilingMegabytes, threads) / 1e9);
    for (const [task, key, input] of work) {
      const results = await alternate(children, round, task, input(round));
      const n = key === "pp" ? promptTokens : generatedTokens;
      for (const name of names) {
        const expected = key === "pp" ? 1 : generatedTokens;
        if (results[name].tokens.length !== expected)
          throw new Error(`${name} gave ${results[name].tokens.length} tokens`);
        runs[name][key].push((n * 1000) / results[name].ms);
        runs[name].idle.push(results[name].idleMs);
      }
      const [ours, theirs] = names.map((name) => results[name].tokens);
      const differs = ours.findIndex((token, i) => token !== theirs[i]);
      agreed.push({ test: `${key}${n}`, firstDifference: differs === -1 ? null : differs });
    }
  }
  for (const { child } of children) {
    child.send({ task: "exit" });
  }
  return report({ model, path, first, base, loaded, memory, runs, ceilings, agreed });
}

function report({ model, path, first, base, loaded, memory, runs, ceilings, agreed }) {
  const fileBytes = statSync(path).size;
  const readBytes = readBytesPerToken(path);
  const ceiling = summarize(ceilings);
  const results = names.map((engine, i) => {
    const tg = summarize(runs[engine].tg);
    return {
      engine,
      info: first[engine].info,
      firstLoadMs: first[engine].ms,
      loadMs: summarize(runs[engine].load),
      pp512: summarize(runs[engine].pp),
      tg128: tg,
      tg128ShareOfCeiling: (tg.median * (readBytes - (first[engine].info.screenedBytes ?? 0))) / (ceiling.median * 1e9),
      memory: memory[i] && {
        beforeLoadBytes: base[i].residentBytes,
        loadPeakBytes: loaded[i].peakBytes,
        ...memory[i],
      },
      /** Largest processor time this engine's measurement left to the sleeping one. */
      otherBusyMs: Math.max(...runs[engine].idle),
    };
  });
  const [ours, theirs] = results;
  const ratio = (key) => ours[key].median / theirs[key].median;
  return {
    // A path says nothing outside this machine.
    model: basename(model, ".gguf"),
    file: basename(path),
    fileBytes,
    readBytesPerToken: readBytes,
    readCeilingGbS: ceiling,
    ratio: { pp512: ratio("pp512"), tg128: ratio("tg128"), load: ratio("loadMs") },
    lutraMemory: memoryBudget(ours, fileBytes),
    greedyAgreement: agreed,
    results,
  };
}

/**
 * The budget is 1.2 × the file and the K/V cache. `peakBytes` is the whole process's peak after one load and both tests,
 * `loadBytes` and `engineBytes` the peaks after the load and after the tests, without what Node took before.
 */
function memoryBudget({ memory, info }, fileBytes) {
  if (!memory) return null;
  const budgetBytes = Math.round(1.2 * fileBytes) + info.memory.kvBytes;
  const { peakBytes, beforeLoadBytes, loadPeakBytes } = memory;
  const engineBytes = peakBytes - beforeLoadBytes;
  const loadBytes = loadPeakBytes - beforeLoadBytes;
  return { budgetBytes, peakBytes, engineBytes, loadBytes, withinBudget: engineBytes <= budgetBytes };
}

const { name: textName, text } = readText();
const run = describeRun(root);
const models = [];
for (const model of flags.model) {
  console.error(`${model}: ${rounds} rounds`);
  models.push(await measureModel(model, text));
}
const document = {
  ...run,
  versions: {
    lutra: JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version,
    "node-llama-cpp": installedPeer(),
  },
  flags: {
    rounds,
    threads,
    contextSize,
    promptTokens,
    generatedTokens,
    decodePromptTokens,
    text: textName,
    ceilingMegabytes,
  },
  models,
};
console.log(toMarkdown(document));
writeResults(root, "compare", document, flags.out);
