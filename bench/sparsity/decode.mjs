/**
 * Decode speed where layers leave channels out, through the public API: own dense layers, settings of `ffnSparsity` and,
 * where it is asked for, node-llama-cpp, in turns. One process (the peer has its own); every engine sleeps while another
 * works. Ratios are of one round each, then their median.
 *
 *   node bench/sparsity/decode.mjs [--model NAME|PATH] [--threads 2] [--tokens 128] [--depth 128] [--rounds 7]
 *     [--setting '{"type":"down-only","keep":0.6}' …] [--matmul auto|dot] [--peer] [--out FILE]
 *
 * Each setting that gives other tensors columns is another copy of the weights: two or three settings at 7B. The masks of
 * random weights (bench/synthetic) say nothing of quality; but the best channels of a token are as many as a real model's, and
 * nothing in a step's time but the memory's order depends on which: replaying a real model's masks would not measure more.
 *
 * Reads its text from ../shared/data (or LUTRA_SHARED), and says so where that is not there. Writes
 * bench/results/<date>-sparsity-decode-<model>.json and prints a Markdown table.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { PeerProcess, findPeer, peerVersion } from "../../dist/esm/bench/index.js";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { median } from "../compare/samples.mjs";
import { sharedText } from "../compare/shared-text.mjs";
import { markdownTable } from "../compare/table.mjs";

const defaultSettings = [
  { type: "down-only", keep: 0.6 },
  { type: "cats", keep: 0.6 },
  { type: "wina", keep: 0.75 },
  { type: "wina", keep: 0.5 },
];
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "128" },
    depth: { type: "string", default: "128" },
    rounds: { type: "string", default: "7" },
    setting: { type: "string", multiple: true },
    matmul: { type: "string", default: "auto" },
    peer: { type: "boolean", default: false },
    data: { type: "string", default: "wikitext2-valid.txt" },
    out: { type: "string" },
  },
});
const [threads, tokens, depth, rounds] = [flags.threads, flags.tokens, flags.depth, flags.rounds].map(Number);
if (![threads, tokens, depth, rounds].every((value) => Number.isInteger(value) && value >= 1)) {
  console.error("--threads, --tokens, --depth and --rounds are whole numbers from 1");
  process.exit(2);
}
const settings = flags.setting?.map((text) => JSON.parse(text)) ?? defaultSettings;
const folder = flags.peer ? findPeer() : null;
if (flags.peer && folder === null) {
  console.error("--peer: node-llama-cpp is not installed; bench/compare/install-peer.mjs puts it into build/peer");
  process.exit(2);
}
const text = readFileSync(sharedText(root, flags.data), "utf8");

const run = describeRun(root);
const contextSize = depth + tokens + 64;
const engines = [];
for (const ffnSparsity of [false, ...settings]) engines.push(await loadOwn(ffnSparsity));
const { info } = engines[0].model;
if (folder !== null) engines.push(await loadPeer());
for (const { decode } of engines) await decode(0); // reads the prompt; later rounds find it in the cache
for (let round = 1; round <= rounds; round++) {
  // The first of a round may find another clock speed than the last, so each takes its turn.
  for (const i of engines.keys()) {
    const engine = engines[(i + round) % engines.length];
    engine.speeds.push(await engine.decode(round));
  }
  console.error(`round ${round}: ${engines.map(({ speeds }) => speeds.at(-1).toFixed(1)).join(", ")} tokens/s`);
}
const rows = [];
for (const engine of engines) rows.push(await describe(engine));
for (const { close } of engines) await close();
const kept = { threads, tokens, depth, rounds, matmul: flags.matmul, settings, peer: flags.peer, data: flags.data };
const model = basename(flags.model).replace(/\.gguf$/, "");
writeResults(root, `sparsity-decode-${model}`, { ...run, model, flags: kept, rows }, flags.out);
const columns = ["engine", "tok/s", "× dense", "× peer", "kept %", "layer MB/token", "read of dense %", "selection %"];
console.log(`\n${markdownTable(columns, rows.map(toCells))}`);

async function loadOwn(ffnSparsity) {
  const options = { threads, contextSize, maxSequences: 1, speculation: "off", matmul: flags.matmul, ffnSparsity };
  const model = await loadModel(flags.model, options);
  for (const warning of model.info.warnings) console.error(`warning: ${warning}`);
  // A word has a token at least, and few have more than eight bytes.
  const ids = model.tokenize(text.slice(0, depth * 16)).slice(0, depth);
  const decode = async () => {
    const request = { maxTokens: tokens, temperature: 0, ignoreEos: true };
    const { timings } = await model.generate(ids, request);
    return timings.predictedPerSecond;
  };
  const name = ffnSparsity === false ? "dense" : JSON.stringify(ffnSparsity);
  return { name, ffnSparsity: model.info.ffnSparsity, model, ids, decode, speeds: [], close: () => model.dispose() };
}

async function loadPeer() {
  const { path, vocabSize } = info;
  const signal = new AbortController().signal;
  const peer = await PeerProcess.start({ folder, path, threads, contextSize, vocabSize, signal });
  const decode = async (round) => {
    const { tokens: measured, ms } = await peer.measure({ kind: "tg", n: tokens, depth, batch: 1 }, round);
    return (measured * 1000) / ms;
  };
  const name = `node-llama-cpp ${peerVersion(folder)}`;
  return { name, decode, speeds: [], close: () => peer[Symbol.asyncDispose]() };
}

/** Ratios are of one round each: what slows the machine for a while slows both. */
async function describe({ name, ffnSparsity, model: own, ids, speeds }) {
  const timesOf = (other) => median(speeds.map((speed, round) => speed / other.speeds[round]));
  const peer = folder === null ? undefined : engines.at(-1);
  const row = { name, perSecond: median(speeds), speeds, timesDense: timesOf(engines[0]) };
  if (own === undefined) return row;
  if (peer !== undefined) row.timesPeer = timesOf(peer);
  if (ffnSparsity === false) return { ...row, ffnSparsity, layerBytesPerToken: layerBytes(own.info.path) };
  return { ...row, ffnSparsity, ...(await countReads(own, ids)) };
}

/** One more run, in which the engine's counters are read. */
async function countReads(own, ids) {
  await Promise.all([own.sparsityTotals(true), own.profile(true)]);
  const { sparsity } = await own.generate(ids, { maxTokens: tokens, temperature: 0, ignoreEos: true });
  const [totals, times] = await Promise.all([own.sparsityTotals(false), own.profile(false)]);
  const stepNs = times.find(({ op }) => op === "step").ns;
  return {
    kept: sparsity.kept,
    layerBytesPerToken: sparsity.bytesPerToken,
    readShare: totals.denseBytes === 0 ? 1 : totals.columnBytes / totals.denseBytes,
    selectionShare: totals.selectNs / stepNs,
  };
}

/** In the file; what is packed for a kernel may be a little larger. */
function layerBytes(path) {
  const layers = binding.inspectFile(path).tensors.filter(({ name }) => name.startsWith("blk."));
  return layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function toCells({ name, perSecond, timesDense, timesPeer, kept: share, layerBytesPerToken, readShare, selectionShare }) {
  const percent = (value, digits) => (value === undefined ? "" : (100 * value).toFixed(digits));
  const megabytes = layerBytesPerToken === undefined ? "" : (layerBytesPerToken / 1e6).toFixed(1);
  const ratios = [timesDense.toFixed(3), timesPeer?.toFixed(2) ?? ""];
  return [name, perSecond.toFixed(1), ...ratios, percent(share, 1), megabytes, percent(readShare, 1), percent(selectionShare, 2)];
}
