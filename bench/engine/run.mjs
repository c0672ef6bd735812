/**
 * Measures what the engine around the kernels does: TypeScript's share of a step, decode beside a busy thread, idle
 * processor time, steps of several sequences, decode at depth, streams together, a long prompt beside streams, a shared
 * prefix, many requests at once. What is compared alternates, round by round, in one process.
 *
 *   npm run bench:engine -- [--model NAME|PATH] [--threads 2] [--rounds 7] [--steps 64] [--depths 0,1000,4000,8000]
 *     [--only typescript-share,busy-thread,idle,batch,depth,concurrency,long-prompt,prefix,flood] [--out FILE]
 *
 * Writes bench/results/<date>-engine.json and prints Markdown tables.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { resolveModel } from "../../dist/esm/models/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { markdownTable } from "../compare/table.mjs";
import * as batch from "./batch.mjs";
import * as busyThread from "./busy-thread.mjs";
import * as concurrency from "./concurrency.mjs";
import * as depth from "./depth.mjs";
import * as flood from "./flood.mjs";
import * as idle from "./idle.mjs";
import * as longPrompt from "./long-prompt.mjs";
import * as prefix from "./prefix.mjs";
import * as typescriptShare from "./typescript-share.mjs";

const sections = {
  "typescript-share": typescriptShare,
  "busy-thread": busyThread,
  idle,
  batch,
  depth,
  concurrency,
  "long-prompt": longPrompt,
  prefix,
  flood,
};
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "7" },
    steps: { type: "string", default: "64" },
    depths: { type: "string", default: "0,1000,4000,8000" },
    isa: { type: "string", default: binding.cpu().isa },
    only: { type: "string", default: Object.keys(sections).join(",") },
    out: { type: "string" },
  },
});
const [threads, rounds, steps] = [flags.threads, flags.rounds, flags.steps].map(Number);
const depths = flags.depths.split(",").map(Number);
const names = flags.only.split(",");
const unknown = names.find((name) => sections[name] === undefined);
if (unknown !== undefined || ![threads, rounds, steps].every((value) => Number.isInteger(value) && value >= 1)) {
  console.error(
    unknown === undefined ? "--threads, --rounds and --steps are whole numbers from 1" : `unknown section ${unknown}`,
  );
  process.exit(2);
}

const run = describeRun(root);
const path = await resolveModel(flags.model, { offline: process.env.LUTRA_OFFLINE === "1" });
const { isa } = flags;
const load = (options) => loadModel(path, { threads, isa, offline: true, speculation: "off", ...options });
const results = {};
for (const name of names) {
  const section = sections[name];
  results[name] = await section.measure({ path, threads, isa, rounds, steps, depths, loadModel: load });
  console.log(`\n${section.title}\n\n${markdownTable(section.columns, results[name].map(section.toCells))}`);
}
const kept = { threads, rounds, steps, depths, isa };
// A path says nothing outside this machine.
writeResults(root, "engine", { ...run, model: basename(path), flags: kept, results }, flags.out);
