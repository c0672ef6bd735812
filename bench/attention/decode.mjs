/**
 * Decode speed at depth, through the public API: exact attention and settings of lookup attention after the same prompt of
 * real text, and node-llama-cpp where it is installed, in turns. One process; every engine sleeps while another works.
 *
 *   node bench/attention/decode.mjs [--model NAME|PATH] [--threads 2] [--depths 4000,8000] [--generate 64] [--rounds 7]
 *     [--setting '{"epsilon":0.1}' …] [--peer-rounds 3] [--out FILE]
 *
 * Random weights attend to everything: for a synthetic model fix the kept share, `--setting '{"maxKeep":0.12}'`, whatever mass
 * that leaves out. Reads its text from ../shared/data (or LUTRA_SHARED), and says so where that is not there. Writes
 * bench/results/<date>-nomad-decode.json and prints a Markdown table.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { PeerProcess, findPeer, peerVersion } from "../../dist/esm/bench/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { median } from "../compare/samples.mjs";
import { sharedText } from "../compare/shared-text.mjs";
import { markdownTable } from "../compare/table.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    depths: { type: "string", default: "4000,8000" },
    generate: { type: "string", default: "64" },
    rounds: { type: "string", default: "7" },
    setting: { type: "string", multiple: true, default: ["{}"] },
    "peer-rounds": { type: "string", default: "3" },
    data: { type: "string", default: "wikitext2-valid.txt" },
    out: { type: "string" },
  },
});
const [threads, generate, rounds] = [flags.threads, flags.generate, flags.rounds].map(Number);
const peerRounds = Number(flags["peer-rounds"]);
const depths = flags.depths.split(",").map(Number);
const settings = flags.setting.map((text) => JSON.parse(text));
if (![threads, generate, rounds, ...depths].every((value) => Number.isInteger(value) && value >= 1) || !(peerRounds >= 0)) {
  console.error("--threads, --depths, --generate and --rounds are whole numbers from 1, --peer-rounds one from 0");
  process.exit(2);
}
const data = sharedText(root, flags.data);

const run = describeRun(root);
const contextSize = Math.max(...depths) + generate + 64;
const text = readFileSync(data, "utf8");
const engines = [];
for (const setting of [null, ...settings]) {
  const attention = setting === null ? "exact" : { type: "nomad", ...setting };
  const model = await loadModel(flags.model, { threads, contextSize, maxSequences: 1, speculation: "off", attention });
  for (const warning of model.info.warnings) console.error(`warning: ${warning}`);
  engines.push({ name: setting === null ? "exact" : `nomad ${JSON.stringify(setting)}`, model });
}
const { path, vocabSize } = engines[0].model.info;
const folder = peerRounds > 0 ? findPeer() : null;
const signal = new AbortController().signal;
const rows = [];
for (const depth of depths) {
  const ids = engines[0].model.tokenize(text.slice(0, depth * 8)).slice(0, depth);
  for (const engine of engines) await decode(engine, ids); // reads the prompt; later rounds find it in the cache
  const found = engines.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, engine] of engines.entries()) found[i].push(await decode(engine, ids));
  }
  const exact = median(found[0].map(({ perSecond }) => perSecond));
  for (const [i, { name }] of engines.entries()) {
    const speeds = found[i].map(({ perSecond }) => perSecond);
    add({ depth, name, perSecond: median(speeds), speeds, kept: median(found[i].map(({ kept }) => kept)), exact });
  }
  if (folder === null) continue;
  const peer = await PeerProcess.start({ folder, path, threads, contextSize, vocabSize, signal });
  const speeds = [];
  for (let round = 0; round < peerRounds; round++) {
    const { tokens, ms } = await peer.measure({ kind: "tg", n: generate, depth, batch: 1 }, round);
    speeds.push((tokens * 1000) / ms);
    // Ours in between, so that a slow minute shows in both.
    for (const [i, engine] of engines.entries()) found[i].push(await decode(engine, ids));
  }
  await peer[Symbol.asyncDispose]();
  const beside = (i) => median(found[i].slice(rounds).map(({ perSecond }) => perSecond));
  const theirs = median(speeds);
  add({ depth, name: `node-llama-cpp ${peerVersion(folder)}`, perSecond: theirs, speeds, exact });
  for (const [i, { name }] of engines.entries()) {
    console.error(`${name}: ${(beside(i) / theirs).toFixed(2)} × node-llama-cpp, measured in turns with it`);
    rows.find((row) => row.depth === depth && row.name === name).timesPeer = beside(i) / theirs;
  }
}
for (const { model } of engines) await model.dispose();
const kept = { threads, depths, generate, rounds, peerRounds, settings, data: flags.data };
writeResults(root, "nomad-decode", { ...run, model: basename(flags.model), flags: kept, rows }, flags.out);
const columns = ["depth", "engine", "tok/s", "× exact", "× peer", "keys read %"];
console.log(`\n${markdownTable(columns, rows.map(toCells))}`);

async function decode({ model }, ids) {
  const { timings, attention } = await model.generate(ids, { maxTokens: generate, temperature: 0, ignoreEos: true });
  return { perSecond: timings.predictedPerSecond, kept: attention?.kept ?? 1 };
}

function add({ exact, ...row }) {
  rows.push({ ...row, timesExact: row.perSecond / exact });
  console.error(JSON.stringify(rows.at(-1)));
}

function toCells({ depth, name, perSecond, timesExact, timesPeer, kept: share }) {
  const percent = share === undefined ? "" : (100 * share).toFixed(1);
  return [depth, name, perSecond.toFixed(1), timesExact.toFixed(2), timesPeer?.toFixed(2) ?? "", percent];
}
