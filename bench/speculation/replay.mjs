/**
 * Replays lib/speculation against recorded traces (record.mjs), with a step taking what a curve says: the same numbers on any
 * machine, but for the time that drafting takes. Prints tables by category: tokens a step, speed-up over plain decode (also of
 * the worst prompt), drafts and how many came true, the error of the calibration, microseconds of drafting a step.
 *
 *   node bench/speculation/replay.mjs [--traces FILE] [--curve 1,1.23,…] [--slope 0.2] [--most 15] [--mode all,…]
 *     [--loops] [--ids] [--drafters suffix,recycling,reader,jacobi]
 *
 * Modes: `all` the drafters together, carried over from prompt to prompt as a model serves requests; `cold` each prompt with
 * a new state; `each` drafter alone; `without` each; `tree` the published tree of Token Recycling, warm and cold.
 * --loops takes the answers that go round in circles too; --ids prints every prompt.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SharedDrafts } from "../../dist/esm/speculation/index.js";
import { markdownTable } from "../compare/table.mjs";
import { categories } from "./prompts.mjs";
import { RecyclingTree, treeRows } from "./recycling-tree.mjs";
import { addScore, emptyScore, simulate } from "./simulate.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    traces: { type: "string", default: join(root, "build", "traces", "smollm2.ndjson") },
    curve: { type: "string", default: "1,1.23,1.45,1.6,1.8,2.05,2.25,2.45" },
    slope: { type: "string", default: "0.2" },
    most: { type: "string", default: "15" },
    mode: { type: "string", default: "all" },
    drafters: { type: "string", default: "suffix,reader" },
    loops: { type: "boolean", default: false },
    ids: { type: "boolean", default: false },
  },
});

const curve = flags.curve.split(",").map(Number);
const [slope, most] = [Number(flags.slope), Number(flags.most)];
const drafters = flags.drafters.split(",");
const traces = readFileSync(flags.traces, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line))
  .filter(({ loops, tokens }) => tokens.length > 8 && (flags.loops || !loops));
const vocabSize = traces[0].vocabSize;

const columns = [
  "category",
  "prompts",
  "tokens a step",
  "speed-up",
  "worst",
  "accepted / drafted",
  ...drafters,
  "calibration error",
  "µs a step",
];

const toCells = ([category, { sum, speedUps }]) => [
  category,
  speedUps.length,
  (sum.tokens / sum.steps).toFixed(2),
  (sum.tokens / sum.time).toFixed(3),
  Math.min(...speedUps).toFixed(2),
  `${sum.accepted} / ${sum.drafted}`,
  ...drafters.map((name) => credit(sum.perDrafter[name])),
  calibrationError(sum.calibration).toFixed(3),
  (sum.microseconds / sum.steps).toFixed(0),
];

const credit = (of) => (of === undefined ? "" : `${of.accepted} / ${of.drafted}`);

/** Mean distance between what nodes claimed and how many of them came true, over tenths of probability. */
function calibrationError(tenths) {
  const count = tenths.reduce((sum, bin) => sum + bin.count, 0);
  return tenths.reduce((sum, bin) => sum + Math.abs(bin.claimed - bin.true), 0) / Math.max(1, count);
}

const modes = {
  all: () => report("all, carried over", withDrafters(drafters, false)),
  cold: () => report("all, each prompt with a new state", withDrafters(drafters, true)),
  each: () => {
    for (const one of drafters) report(`${one} alone`, withDrafters([one], false));
  },
  without: () => {
    for (const one of drafters) {
      const others = drafters.filter((name) => name !== one);
      report(`without ${one}`, withDrafters(others, false));
    }
  },
  tree: () => {
    report("published tree of Token Recycling, warm", withTree(false));
    report("published tree of Token Recycling, cold", withTree(true));
  },
};
for (const mode of flags.mode.split(",")) modes[mode]();

function time(rows) {
  return curve[rows - 1] ?? curve.at(-1) + slope * (rows - curve.length);
}

function withDrafters(names, isCold) {
  let shared = new SharedDrafts(vocabSize, names);
  return (trace) => {
    if (isCold) shared = new SharedDrafts(vocabSize, names);
    return simulate(trace, shared, time, most);
  };
}

function withTree(isCold) {
  let tree = new RecyclingTree();
  return ({ prompt, tokens, topIds }) => {
    if (isCold) tree = new RecyclingTree();
    const score = emptyScore();
    tree.observe(prompt.at(-1), topIds[0]);
    for (let at = 1; at < tokens.length; ) {
      const count = tree.step(tokens[at - 1], tokens, at);
      for (let i = 0; i < count; i++) tree.observe(tokens[at + i - 1], topIds[at + i]);
      at += count;
      score.steps++;
      score.time += time(treeRows);
      score.drafted += treeRows - 1;
      score.accepted += count - 1;
    }
    return { ...score, tokens: tokens.length - 1 };
  };
}

/** Prompts of the categories take turns, as requests would. */
function report(title, run) {
  const order = takeTurns(categories.map((category) => traces.filter((trace) => trace.category === category)));
  const byCategory = new Map(categories.map((category) => [category, { sum: emptyScore(), speedUps: [] }]));
  for (const trace of order) {
    const score = run(trace);
    const { sum, speedUps } = byCategory.get(trace.category);
    addScore(sum, score);
    speedUps.push(score.tokens / score.time);
    if (flags.ids) console.log(trace.id, (score.tokens / score.time).toFixed(3));
  }
  const total = { sum: emptyScore(), speedUps: [] };
  for (const { sum, speedUps } of byCategory.values()) {
    addScore(total.sum, sum);
    total.speedUps.push(...speedUps);
  }
  const lines = [...byCategory, ["together", total]].filter(([, { speedUps }]) => speedUps.length > 0);
  console.log(`\n${title}\n\n${markdownTable(columns, lines.map(toCells))}`);
}

function takeTurns(lists) {
  const longest = Math.max(...lists.map(({ length }) => length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
