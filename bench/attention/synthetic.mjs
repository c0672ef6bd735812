/**
 * Decode steps of a model of random weights at depth, exact and over codes, in turns: what lookup attention gains by shape.
 * Random keys attend to everything, so nothing is chosen by mass: the share that query heads keep is given (`--keep`), and
 * keys and values are random numbers in place of a prompt's. Native engine alone.
 *
 *   node bench/attention/synthetic.mjs --model FILE [--threads 2] [--depth 16384] [--keep 0.03,0.1] [--steps 60] [--out FILE]
 *
 * Writes bench/results/<date>-nomad-synthetic.json and prints a Markdown table.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { binding } from "../../dist/esm/binding/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { median } from "../compare/samples.mjs";
import { markdownTable } from "../compare/table.mjs";
import { NativeLoop } from "../engine/native-loop.mjs";

const pagePositions = 32;
const trainingPositions = 2048;
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    threads: { type: "string", default: "2" },
    depth: { type: "string", default: "16384" },
    keep: { type: "string", default: "0.03" },
    steps: { type: "string", default: "60" },
    out: { type: "string" },
  },
});
const [threads, depth, steps] = [flags.threads, flags.depth, flags.steps].map(Number);
const shares = flags.keep.split(",").map(Number);
if (flags.model === undefined || !(depth >= trainingPositions) || !(threads >= 1) || !(steps >= 1) || !shares.every((x) => x > 0)) {
  console.error("--model is a model file; --depth is 2048 at least, the others are above 0");
  process.exit(2);
}

const run = describeRun(root);
const pages = Math.ceil(depth / pagePositions);
const positions = pages * pagePositions + steps + 1;
const isa = binding.cpu().isa;
const exact = new NativeLoop(flags.model, { threads, isa, positions });
const bytes = randomHalves(binding.engineInfo(exact.engine).pageBytes * pages);
const written = exact.arrays.pageTables.slice(0, pages);
binding.engineWritePages(exact.engine, written, bytes);
const codebooks = binding.engineTrainCodebooks(
  exact.engine,
  written.slice(0, trainingPositions / pagePositions),
  trainingPositions,
  { dSub: 2, outliers: 0, spread: false, contextSize: depth },
);
const loops = [{ keep: 1, loop: exact }];
for (const keep of shares) {
  const attention = { mode: "refine", epsilon: 0.001, maxKeep: keep, tail: false, tableBits: 8, codebooks };
  const loop = new NativeLoop(flags.model, { threads, isa, positions, attention });
  binding.engineWritePages(loop.engine, written, bytes);
  loops.push({ keep, loop });
}
const found = loops.map(() => ({ ms: [], kept: [] }));
for (const { loop } of loops) binding.engineProfile(loop.engine, true);
for (let step = 0; step <= steps; step++) {
  for (const [i, { loop }] of loops.entries()) {
    const ms = loop.decode(100 + step, pages * pagePositions + step, 1);
    if (step === 0) continue; // cold
    found[i].ms.push(ms);
    found[i].kept.push(loop.arrays.attentionKept[0]);
  }
}
const rows = loops.map(({ keep, loop }, i) => {
  const attend = binding.engineProfile(loop.engine, false).find(({ op }) => op === "attend");
  return {
    attention: i === 0 ? "exact" : `refine d2, each head keeps ${keep}`,
    kept: i === 0 ? 1 : median(found[i].kept),
    stepMs: median(found[i].ms),
    attendMs: attend.ns / 1e6 / (steps + 1),
    timesExact: median(found[0].ms) / median(found[i].ms),
  };
});
for (const { loop } of loops) loop.release();
const kept = { threads, depth, keep: shares, steps, isa };
writeResults(root, "nomad-synthetic", { ...run, model: basename(flags.model), flags: kept, rows }, flags.out);
const columns = ["attention", "read %", "step ms", "attention ms", "× exact"];
const toCells = (row) => [
  row.attention,
  (100 * row.kept).toFixed(1),
  row.stepMs.toFixed(1),
  row.attendMs.toFixed(1),
  row.timesExact.toFixed(2),
];
console.log(`\n${markdownTable(columns, rows.map(toCells))}`);

/** Halves of magnitude 2^-3 to 2, of both signs. */
function randomHalves(length) {
  const words = new Uint32Array(length / 4);
  let x = 123456789;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = (x & 0x8fff8fff) | 0x30003000;
  }
  return new Uint8Array(words.buffer);
}
