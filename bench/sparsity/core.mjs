/**
 * Core neurons (CoreInfer): what a set that the prompt chose costs on the tokens after it, how much of that a set chosen from
 * those very tokens would save, how far the two sets overlap, and whether the guard tells prompts of one topic from others.
 *
 *   node bench/sparsity/core.mjs [--model NAME|PATH] [--threads 2] [--lengths 64,256,1024] [--keeps 0.4,0.6,0.8]
 *     [--prompts 24] [--continuation 128] [--guard 0.36] [--token-share 0.4] [--out FILE]
 *
 * A prompt of one topic is the beginning of a WikiText article; of two topics, half of that and half of Shakespeare, or of
 * another article. The tokens that are scored continue the article. Reads its texts from ../shared/data (or LUTRA_SHARED), and
 * says so where they are not there. Writes bench/results/<date>-sparsity-core-<model>.json and prints Markdown tables.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { binding } from "../../dist/esm/binding/index.js";
import { resolveSparsity } from "../../dist/esm/engine/sparsity/option.js";
import { resolveModel } from "../../dist/esm/models/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { markdownTable } from "../compare/table.mjs";
import { Distances, moments } from "./distances.mjs";
import { EngineSet } from "./engine-set.mjs";
import { openTokenizer, readText, splitArticles, textNames } from "./texts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    lengths: { type: "string", default: "64,256,1024" },
    keeps: { type: "string", default: "0.4,0.6,0.8" },
    prompts: { type: "string", default: "24" },
    continuation: { type: "string", default: "128" },
    guard: { type: "string", default: "0.36" },
    "token-share": { type: "string", default: "0.4" },
    out: { type: "string" },
  },
});
const [threads, prompts, continuation] = [flags.threads, flags.prompts, flags.continuation].map(Number);
const [guard, tokenShare] = [flags.guard, flags["token-share"]].map(Number);
const lengths = flags.lengths.split(",").map(Number);
const keeps = flags.keeps.split(",").map(Number);
const isWhole = (value) => Number.isInteger(value) && value >= 1;
if (![threads, prompts, continuation, ...lengths].every(isWhole) || lengths.some((length) => length < 32)) {
  console.error("--threads, --prompts and --continuation are whole numbers from 1, --lengths from 32");
  process.exit(2);
}

/** Slots of core neurons: the prompt's, and those that the continuation itself chooses. */
const [promptSlot, oracleSlot] = [0, 1];
/** Sets that are at most half of the channels that a list may hold can be seen together (native/forward/sparsity.cc, kMostListed). */
const mostCompared = 0.425;

const path = await resolveModel(flags.model);
const tokenizer = openTokenizer(path);
const [wiki, shakespeare] = textNames.map((name) => readText(root, name));
const articles = splitArticles(wiki).map((article) => tokenizer.encode(article));
const plays = tokenizer.encode(shakespeare);
tokenizer.close();
const run = describeRun(root);
const positions = Math.max(...lengths) + continuation + 1;
const engines = new EngineSet(path, { threads, positions, sequences: 2, columns: ["ffn_down"] });
const downs = binding.modelTensors(engines.model).filter(({ name }) => name.includes("ffn_down"));
/** Of all channels of down; 0 where a type has no columns, and nothing can be read from their bytes. */
const columnBytes = downs.every((down) => down.columnBytes > 0) ? downs.reduce((sum, down) => sum + down.columnBytes, 0) : 0;
const guarded = engines.create(coreOption(0.4, guard));
const kept = { threads, lengths, keeps, prompts, continuation, guard, tokenShare, data: textNames };
const model = basename(flags.model).replace(/\.gguf$/, "");
const [rows, guards] = [[], []];
for (const length of lengths) {
  const chosen = articles.filter((ids) => ids.length >= length + continuation + 1).slice(0, prompts);
  if (chosen.length === 0) throw new Error(`no article has ${length + continuation + 1} tokens`);
  for (const keep of keeps) rows.push(measureKeep(chosen, length, keep));
  guards.push(...testGuard(chosen, length));
  writeResults(root, `sparsity-core-${model}`, { ...run, model, flags: kept, rows, guards }, flags.out);
}
engines.close();
const columns = ["prompt", "keep", "prompts", "Δppl %", "±", "KL", "top-1 %", "oracle Δppl %", "oracle KL", "Jaccard"];
console.log(`\n${markdownTable(columns, rows.map(toCells))}`);
const toGuardCells = ({ kind, length, prompts: n, refused }) => [kind, length, n, refused];
console.log(`\n${markdownTable(["prompts", "tokens", "number", "refused"], guards.map(toGuardCells))}`);

function coreOption(keep, least) {
  return resolveSparsity({ type: "coreinfer", keep, tokenShare, guard: least });
}

function withLead(...parts) {
  return Int32Array.from([...tokenizer.lead, ...parts.flatMap((part) => [...part])]);
}

function measureKeep(chosen, length, keep) {
  const engine = engines.create(coreOption(keep, 0));
  const [own, oracle, overlaps] = [new Distances(), new Distances(), []];
  for (const article of chosen) {
    const ids = withLead(article).subarray(0, length + continuation + 1);
    const span = { from: length, to: length + continuation };
    engines.run(engines.exact, ids, { to: length });
    engines.run(engine, ids, { to: length, exactUntil: length, coreSlot: promptSlot });
    scoreSpan(engine, ids, { ...span, coreSlot: promptSlot, found: own });
    // The slot restarts at position 0, whose token alone of the prompt is in the set.
    engines.run(engine, ids, { to: 1, exactUntil: 1, coreSlot: oracleSlot });
    engines.run(engine, ids, { ...span, exactUntil: span.to, coreSlot: oracleSlot });
    scoreSpan(engine, ids, { ...span, coreSlot: oracleSlot, found: oracle });
    if (keep <= mostCompared && columnBytes > 0) overlaps.push(overlapOf(engine, ids, length));
  }
  engines.release(engine);
  const jaccard = overlaps.length === 0 ? null : moments(overlaps).mean;
  const row = { length, keep, prompts: chosen.length, ...own.whole(), oracle: oracle.whole(), jaccard };
  console.error(`${length} tokens, keep ${keep}: Δppl ${(100 * row.deltaPpl).toFixed(2)} %, KL ${row.klMean.toFixed(5)}`);
  return row;
}

function scoreSpan(engine, ids, { from, to, coreSlot, found }) {
  for (let at = from; at < to; at += engines.shape.rows) {
    engines.setRows(ids, at, Math.min(engines.maxCompared, to - at), { wanted: true, exactUntil: from, coreSlot });
    engines.step(engines.exact);
    engines.step(engine);
    found.add(engines.compare(engine), engines.arrays);
  }
}

/**
 * Jaccard index of the two slots' sets, over all layers: a step with a row of each reads the union of their columns, and says
 * how many bytes that was.
 */
function overlapOf(engine, ids, at) {
  const { arrays, shape, stride } = engines;
  const pages = Array.from({ length: stride }, (_, page) => [page, stride + page]).flat();
  binding.engineCopyPages(engine, Int32Array.from(pages));
  const bytesOf = (slots) => {
    engines.setRows(ids, at, 1, { exactUntil: at });
    for (const [row, slot] of slots.entries()) {
      arrays.tokens[row] = ids[at];
      arrays.positions[row] = at;
      arrays.sequences[row] = row;
      arrays.wants[row] = 0;
      arrays.exactUntil[row] = at;
      arrays.coreSlots[row] = slot;
    }
    Object.assign(shape, { rows: slots.length, sequences: slots.length });
    binding.engineSparsity(engine, true);
    engines.step(engine);
    shape.sequences = 1;
    return binding.engineSparsity(engine, false).columnBytes;
  };
  const [one, union] = [bytesOf([promptSlot]), bytesOf([promptSlot, oracleSlot])];
  const keep = Math.round(arrays.sparseKept[0] * engines.info.hiddenDim) / engines.info.hiddenDim;
  const share = keep + ((union - one) / (columnBytes - one)) * (1 - keep);
  return (2 * keep - share) / share;
}

/** How many prompts of each kind the guard refuses. */
function testGuard(chosen, length) {
  const half = Math.floor(length / 2);
  const gap = Math.floor((plays.length - length - 1) / chosen.length);
  const play = (i) => plays.subarray(i * gap, i * gap + length + 1);
  const kinds = {
    "one article": (article) => [article],
    "one stretch of Shakespeare": (_, i) => [play(i)],
    "an article, then Shakespeare": (article, i) => [article.subarray(0, half), play(i)],
    "an article, then another": (article, i) => [article.subarray(0, half), chosen[(i + 1) % chosen.length]],
  };
  return Object.entries(kinds).map(([kind, parts]) => {
    const refused = chosen.filter((article, i) => isRefused(withLead(...parts(article, i)), length)).length;
    console.error(`${length} tokens, ${kind}: ${refused} of ${chosen.length} refused`);
    return { kind, length, prompts: chosen.length, refused };
  });
}

function isRefused(ids, length) {
  engines.run(guarded, ids, { to: length, exactUntil: length, coreSlot: promptSlot });
  engines.run(guarded, ids, { from: length, to: length + 1, exactUntil: length, coreSlot: promptSlot });
  return engines.arrays.sparseState[0] === 2;
}

function toCells({ length, keep, prompts: n, deltaPpl, deltaPplError, klMean, top1Agreement, oracle, jaccard }) {
  const percent = (share) => (100 * share).toFixed(2);
  const own = [percent(deltaPpl), percent(deltaPplError), klMean.toFixed(5), percent(top1Agreement)];
  return [length, keep, n, ...own, percent(oracle.deltaPpl), oracle.klMean.toFixed(5), jaccard?.toFixed(3) ?? ""];
}
