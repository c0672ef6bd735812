/**
 * What leaving channels out costs in quality, on real text of two kinds: perplexity, KL and first choice against exact
 * computation, a point for each method and share kept. One exact pass serves a batch of points: all their engines stand on
 * the same weights and run the same windows, a chunk at a time. Every token is scored; a window's first four are dense.
 *
 *   node bench/sparsity/quality.mjs [--model NAME|PATH] [--threads 2] [--tokens 50000] [--context 512]
 *     [--methods down-only,cats,teal,…] [--keeps 0.75,0.6,0.5,0.35] [--setting '{"type":"teal","keep":0.9}' …]
 *     [--batch 8] [--out FILE]
 *
 * Reads its texts from ../shared/data (or LUTRA_SHARED), half of the tokens from each, and says so where they are not there.
 * Writes bench/results/<date>-sparsity-quality-<model>.json after each batch, where a later run goes on, and prints a
 * Markdown table. The result depends on neither threads nor batch; memory does: an engine takes some 50 MB.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { resolveSparsity } from "../../dist/esm/engine/sparsity/option.js";
import { resolveModel } from "../../dist/esm/models/index.js";
import { planSparsity } from "../../dist/esm/worker/sparsity/plan.js";
import { describeCommit, describeMachine, writeResults } from "../compare/machine.mjs";
import { markdownTable } from "../compare/table.mjs";
import { Distances } from "./distances.mjs";
import { EngineSet } from "./engine-set.mjs";
import { layerShare, listPoints, methodNames, pointName } from "./points.mjs";
import { cutWindows, openTokenizer, readText, textNames } from "./texts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "50000" },
    context: { type: "string", default: "512" },
    methods: { type: "string", default: methodNames.join(",") },
    keeps: { type: "string", default: "0.75,0.6,0.5,0.35" },
    setting: { type: "string", multiple: true, default: [] },
    batch: { type: "string", default: "8" },
    out: { type: "string" },
  },
});
const [threads, tokens, contextSize, batch] = [flags.threads, flags.tokens, flags.context, flags.batch].map(Number);
const keeps = flags.keeps.split(",").map(Number);
const methods = flags.methods.split(",").filter((name) => name !== "");
const unknown = methods.find((name) => !methodNames.includes(name));
if (unknown !== undefined) fail(`--methods: expected some of ${methodNames.join(", ")}, found ${unknown}`);
if (![threads, batch].every((value) => Number.isInteger(value) && value >= 1)) fail("--threads and --batch are whole numbers from 1");
if (![tokens, contextSize].every((value) => Number.isInteger(value) && value >= 4)) fail("--tokens and --context are whole numbers from 4");
if (!keeps.every((keep) => keep > 0 && keep <= 1)) fail("--keeps are shares above 0, at most 1");

const settings = flags.setting.map((text) => JSON.parse(text));
const points = [
  ...settings.map((option) => ({ method: option.type, keep: option.keep, option })),
  ...listPoints(methods, keeps),
];
const path = await resolveModel(flags.model);
const modelName = basename(flags.model).replace(/\.gguf$/, "");
const windows = readWindows();
const document = openDocument();
const has = (point) => document.rows.some((row) => pointName(row) === pointName(point));
const missing = points.filter((point) => !has(point));
console.error(`${missing.length} of ${points.length} points to measure, ${windows.length} windows`);
const engines = new EngineSet(path, { threads, positions: contextSize });
for (let at = 0; at < missing.length; at += batch) {
  document.rows.push(...measure(missing.slice(at, at + batch)));
  writeResults(root, document.name, document, flags.out);
}
engines.close();
const columns = ["method", "keep", "layer weights read %", "ppl", "Δppl %", "±", "KL", "KL 99 %", "top-1 %", "kept %", "σ"];
console.log(`\n${markdownTable(columns, document.rows.map(toCells))}`);

function fail(reason) {
  console.error(reason);
  process.exit(2);
}

function readWindows() {
  const tokenizer = openTokenizer(path);
  const each = Math.ceil(tokens / textNames.length);
  const cut = textNames.flatMap((text) => {
    const ids = tokenizer.encode(readText(root, text));
    return cutWindows(ids, { tokens: each, size: contextSize, lead: tokenizer.lead }).map((window) => ({ text, ids: window }));
  });
  tokenizer.close();
  return cut;
}

/** That of an earlier run, if it scored the same tokens. */
function openDocument() {
  const name = `sparsity-quality-${modelName}`;
  const scored = { tokens, contextSize, data: textNames };
  const date = new Date().toISOString();
  const file = flags.out ?? join(root, "bench", "results", `${date.slice(0, 10)}-${name}.json`);
  if (!existsSync(file)) {
    const head = { date, machine: describeMachine(), node: process.version };
    return { ...head, name, model: modelName, flags: scored, rows: [] };
  }
  const found = JSON.parse(readFileSync(file, "utf8"));
  const [expected, other] = [{ model: modelName, flags: scored }, found].map((each) => JSON.stringify([each.model, each.flags]));
  if (expected !== other) fail(`${file}: expected points of ${expected}, found ${other}; name another --out`);
  return found;
}

/** One pass over all windows. */
function measure(batchPoints) {
  const { commit, dirty } = describeCommit(root);
  const started = performance.now();
  const runs = batchPoints.map((point) => {
    const resolved = resolveSparsity(point.option);
    const weightsRead = layerShare(engines.model, planSparsity(resolved, engines.info.nLayers));
    return { point, weightsRead, engine: engines.create(resolved), found: new Distances() };
  });
  const ends = new Map();
  for (const [i, { ids, text }] of windows.entries()) {
    scoreWindow(ids, runs);
    ends.set(text, runs[0].found.kl.length);
    const leftMs = ((performance.now() - started) / (i + 1)) * (windows.length - i - 1);
    if (process.stderr.isTTY) process.stderr.write(`\r${i + 1} of ${windows.length} windows, ${(leftMs / 1000).toFixed(0)} s left \r`);
  }
  const ms = (performance.now() - started) / runs.length;
  return runs.map(({ point, weightsRead, engine, found }) => {
    engines.release(engine);
    let from = 0;
    const texts = [...ends].map(([text, to]) => {
      const part = { text, ...found.summary(from, to) };
      from = to;
      return part;
    });
    const row = { ...point, weightsRead, ...found.whole(), texts, ms, commit, dirty };
    console.error(`${pointName(point)}: Δppl ${(100 * row.deltaPpl).toFixed(2)} %, KL ${row.klMean.toFixed(5)}`);
    return row;
  });
}

/** The last token predicts nothing that is known, so it does not run. */
function scoreWindow(ids, runs) {
  const last = ids.length - 1;
  for (let at = 0; at < last; at += engines.maxCompared) {
    engines.setRows(ids, at, Math.min(engines.maxCompared, last - at), { wanted: true });
    engines.step(engines.exact);
    for (const { engine, found } of runs) {
      engines.step(engine);
      found.add(engines.compare(engine), engines.arrays);
    }
  }
}

function toCells({ method, keep, option, weightsRead, ppl, deltaPpl, deltaPplError, klMean, klP99, top1Agreement, kept }) {
  const percent = (share, digits) => (100 * share).toFixed(digits);
  const name = option.allocation === undefined ? method : `${method}, ${option.allocation}`;
  const distance = [ppl.toFixed(3), percent(deltaPpl, 2), percent(deltaPplError, 2), klMean.toFixed(5), klP99.toFixed(4)];
  const realised = kept === null ? ["", ""] : [percent(kept.mean, 2), percent(kept.sigma, 3)];
  return [name, keep, percent(weightsRead, 1), ...distance, percent(top1Agreement, 2), ...realised];
}
