/**
 * What settings of attention cost in quality, on real text: perplexity, KL and top-1 against exact computation, overall and by
 * position, with what was read and left out. Every token is scored by rows that attend approximately.
 *
 *   node bench/attention/quality.mjs [--model NAME|PATH] [--threads 2] [--tokens 50000] [--contexts 4096,8000]
 *     [--exact-tokens 0] [--data wikitext2-valid.txt] [--setting '{"mode":"pure","dSub":2}' …] [--out FILE]
 *
 * Reads its text from ../shared/data (or LUTRA_SHARED), and says so where that is not there. Writes
 * bench/results/<date>-nomad-quality.json after each setting and prints a Markdown table.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { sharedText } from "../compare/shared-text.mjs";
import { markdownTable } from "../compare/table.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "50000" },
    contexts: { type: "string", default: "4096,8000" },
    "exact-tokens": { type: "string", default: "0" },
    data: { type: "string", default: "wikitext2-valid.txt" },
    setting: { type: "string", multiple: true },
    out: { type: "string" },
  },
});
/** Options of attention, but for the type; the cache's type may stand among them. */
const defaultSettings = [
  {},
  { epsilon: 0.02, maxKeep: 0.5 },
  { epsilon: 0.1 },
  { tail: true },
  { tableBits: 7 },
  { dSub: 1 },
  { dSub: 4 },
  { mode: "pure", dSub: 1 },
  { mode: "pure", dSub: 2 },
  { mode: "pure", dSub: 4 },
];
const settings = flags.setting?.map((text) => JSON.parse(text)) ?? defaultSettings;
const [threads, tokens, exactTokens] = [flags.threads, flags.tokens, flags["exact-tokens"]].map(Number);
const contexts = flags.contexts.split(",").map(Number);
if (![threads, tokens, ...contexts].every((value) => Number.isInteger(value) && value >= 1) || !(exactTokens >= 0)) {
  console.error("--threads, --tokens and --contexts are whole numbers from 1, --exact-tokens one from 0");
  process.exit(2);
}
const data = sharedText(root, flags.data);

const columns = ["setting", "context", "tokens from", "ppl", "Δppl %", "KL", "KL 99 %", "top-1 %", "kept %", "dropped %"];
const run = describeRun(root);
const kept = { threads, tokens, contexts, exactTokens, data: flags.data };
const rows = [];
for (const contextSize of contexts) {
  for (const setting of settings) {
    rows.push(await measure(setting, contextSize));
    writeResults(root, "nomad-quality", { ...run, model: basename(flags.model), flags: kept, rows }, flags.out);
  }
}
console.log(`\n${markdownTable(columns, rows.flatMap(toCells))}`);

async function measure({ kvCacheType, ...setting }, contextSize) {
  const attention = { type: "nomad", ...setting };
  const model = await loadModel(flags.model, { threads, contextSize, maxSequences: 1, kvCacheType, attention });
  for (const warning of model.info.warnings) console.error(`warning: ${warning}`);
  // Cut by tokens, so that every setting and context has the same ones.
  const text = model.detokenize(model.tokenize(readFileSync(data, "utf8"), { addSpecial: false }).slice(0, tokens));
  const { ppl, scored, ms, against } = await model.perplexity(text, { contextSize, against: "exact", exactTokens });
  const used = model.info.attention;
  await model.dispose();
  const { rows: _, buckets, ppl: pplAgainst, ...distance } = against;
  const all = { from: 0, to: null, tokens: scored, ppl, pplAgainst, ...distance };
  const withDelta = (part) => ({ ...part, deltaPpl: part.ppl / part.pplAgainst - 1 });
  // A path says nothing outside this machine; which file it was, where it was named, does.
  const { codebooks: _path, ...named } = used;
  if (setting.codebooks !== undefined) named.codebooks = basename(setting.codebooks);
  const row = { setting: named, kvCacheType: kvCacheType ?? "f16", contextSize, ms, ...withDelta(all) };
  console.error(`${describe(row)}, ${contextSize}: Δppl ${(100 * row.deltaPpl).toFixed(2)} %, KL ${row.klMean}`);
  return { ...row, buckets: buckets.map(withDelta) };
}

function describe({ setting, kvCacheType }) {
  const { type, mode, dSub, epsilon, maxKeep, tail, tableBits, outliers, codebooks } = setting;
  if (type === "exact") return `exact, ${kvCacheType}`;
  const choice = mode === "refine" ? ` ε ${epsilon} ≤ ${maxKeep}${tail ? " tail" : ""}` : "";
  const books = codebooks === undefined ? "" : ` ${codebooks}`;
  const extra = `${tableBits === 8 ? "" : ` ${tableBits} bits`}${outliers > 0 ? ` ${outliers} outliers` : ""}${books}`;
  return `${mode} d${dSub}${choice}${extra}${kvCacheType === "f16" ? "" : ` ${kvCacheType}`}`;
}

function toCells(row) {
  const percent = (share, digits) => (share === undefined ? "" : (100 * share).toFixed(digits));
  return [row, ...row.buckets].map((part, i) => [
    i === 0 ? describe(row) : "",
    i === 0 ? row.contextSize : "",
    i === 0 ? "all" : part.from,
    part.ppl.toFixed(3),
    percent(part.deltaPpl, 2),
    part.klMean.toFixed(5),
    part.klP99.toFixed(4),
    percent(part.top1Agreement, 2),
    percent(part.attention?.kept, 1),
    percent(part.attention?.dropped, 1),
  ]);
}
