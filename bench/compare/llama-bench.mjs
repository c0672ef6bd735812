/**
 * Lutra against llama.cpp's own measuring programs, which the user built elsewhere, on the same model files and threads:
 * rounds alternate which goes first, medians. Lutra is measured through its public interface, as `lutra bench` does.
 *
 *   node bench/compare/llama-bench.mjs --llama-bench PATH --batched-bench PATH [--model NAME|PATH]… [--rounds 5]
 *     [--threads 2] [--tests pp512,pp4096,tg128,tg32@8000] [--batches 1,2,4,8] [--peer] [--llama-version TEXT] [--out FILE]
 *
 * A test is ppN or tgN, @D after D tokens. --peer adds node-llama-cpp (install-peer.mjs) to every round. The programs
 * know a version only when they were built in their own repository; --llama-version says what they were built from. Writes bench/results/<date>-llama-bench.json and prints a Markdown table.
 */
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  bytesPerToken,
  fileReadBytes,
  findPeer,
  lutraReadBytes,
  measureLutra,
  neededContext,
  PeerProcess,
  peerName,
  runTest,
  testName,
} from "../../dist/esm/bench/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { resolveModel } from "../../dist/esm/models/index.js";
import { LlamaBenchTool } from "./llama-bench-tool.mjs";
import { describeRun, writeResults } from "./machine.mjs";
import { markdownTable } from "./table.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    "llama-bench": { type: "string" },
    "batched-bench": { type: "string" },
    model: { type: "string", multiple: true, default: ["smollm2-135m-instruct", "gemma-3-270m"] },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    tests: { type: "string", default: "pp512,pp4096,tg128,tg32@8000" },
    batches: { type: "string", default: "1,2,4,8" },
    peer: { type: "boolean", default: false },
    "llama-version": { type: "string" },
    out: { type: "string" },
  },
});
/** Of a test of several sequences: each one's prompt, and the tokens each generates. */
const batchTokens = 64;

function fail(reason) {
  console.error(reason);
  process.exit(2);
}

function whole(name) {
  const value = Number(flags[name]);
  return Number.isInteger(value) && value >= 1 ? value : fail(`--${name} is a whole number from 1`);
}

function parseTest(text) {
  const match = /^(pp|tg)(\d+)(?:@(\d+))?$/.exec(text);
  if (!match) fail(`expected tests such as pp512 or tg32@8000, got ${text}`);
  return { kind: match[1], n: Number(match[2]), depth: Number(match[3] ?? 0), batch: 1, together: false };
}

function listTests() {
  const items = (name) => flags[name].split(",").filter((item) => item !== "");
  const single = items("tests").map(parseTest);
  const several = items("batches").map((item) => ({
    kind: "tg",
    n: batchTokens,
    depth: batchTokens,
    batch: Number(item),
    together: true,
  }));
  if (single.length > 0 && !flags["llama-bench"]) fail("--llama-bench PATH is needed, or --tests ''");
  if (several.length > 0 && !flags["batched-bench"]) fail("--batched-bench PATH is needed, or --batches ''");
  return [...single, ...several];
}

/** Everything loaded for one test alone, so that no cache is larger than the test needs. */
async function runOne(test, path, tool, { rounds, threads }) {
  const contextSize = neededContext([test]);
  const model = await loadModel(path, { threads, contextSize, maxSequences: test.batch, offline: true, speculation: "off" });
  const peer = flags.peer ? await startPeer(model, contextSize) : undefined;
  const [ours, theirs] = [lutraReadBytes(model), fileReadBytes(model.info)];
  const subject = (engine, bytes, measure) => ({
    engine,
    bytesPerToken: (of) => bytesPerToken(bytes, of),
    measure,
  });
  const subjects = [
    subject("lutra", ours, (of, round) => measureLutra(model, of, round, {})),
    subject("llama.cpp", theirs, (of) => tool.measure(of, testName(of))),
  ];
  if (peer) subjects.push(subject(peerName, theirs, (of, round) => peer.measure(of, round)));
  try {
    return await runTest(test, subjects, { repetitions: rounds, threads });
  } finally {
    await peer?.[Symbol.asyncDispose]();
    await model.dispose();
  }
}

function startPeer({ info: { path, threads, vocabSize } }, contextSize) {
  const folder = findPeer() ?? fail("--peer: node-llama-cpp is not installed: node bench/compare/install-peer.mjs");
  return PeerProcess.start({ folder, path, threads, contextSize, vocabSize, signal: new AbortController().signal });
}

async function measureModel(name, tests, options) {
  const path = await resolveModel(name, { offline: process.env.LUTRA_OFFLINE === "1" });
  const tool = new LlamaBenchTool({
    llamaBench: flags["llama-bench"],
    batchedBench: flags["batched-bench"],
    path,
    threads: options.threads,
  });
  const rows = [];
  for (const test of tests) {
    console.error(`${basename(path)}: ${testName(test)}, ${options.rounds} rounds`);
    rows.push(...(await runOne(test, path, tool, options)));
  }
  // A path says nothing outside this machine.
  const [model, file] = [basename(name, ".gguf"), basename(path)];
  return {
    model,
    file,
    fileBytes: statSync(path).size,
    build: flags["llama-version"] ?? tool.build,
    flashAttention: tool.flashAttention,
    rows,
  };
}

function toMarkdown({ machine, commit, dirty, flags: { rounds, threads }, models }) {
  const engines = [...new Set(models[0].rows.map(({ engine }) => engine))];
  const speed = ({ tokens_per_second, spread }) => `${tokens_per_second.toFixed(1)} ± ${spread.toFixed(1)}`;
  const share = ({ share_of_ceiling }) => (share_of_ceiling === null ? "" : `${(share_of_ceiling * 100).toFixed(0)} %`);
  const cells = models.flatMap(({ model, rows }) =>
    [...new Set(rows.map(({ test }) => test))].map((test) => {
      const [ours, ...others] = rows.filter((row) => row.test === test);
      const ratios = others.map((other) => (ours.tokens_per_second / other.tokens_per_second).toFixed(2));
      return [model, test, speed(ours), ...others.map(speed), ...ratios, share(ours)];
    }),
  );
  const columns = ["model", "test", ...engines.map((engine) => `${engine} tokens/s`)];
  columns.push(...engines.slice(1).map((engine) => `lutra ÷ ${engine}`), "of the read ceiling");
  const head =
    `${machine.cpu}, ${threads} threads, medians of ${rounds} interleaved rounds; lutra at ` +
    `${commit?.slice(0, 9) ?? "?"}${dirty ? " (modified)" : ""}, llama.cpp ${models[0].build ?? "?"}.`;
  return `${head}\n\n${markdownTable(columns, cells)}`;
}

const options = { rounds: whole("rounds"), threads: whole("threads") };
const tests = listTests();
const run = describeRun(root);
const models = [];
for (const name of flags.model) models.push(await measureModel(name, tests, options));
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const document = {
  ...run,
  versions: { lutra: version, "llama.cpp": models[0].build },
  flags: { ...options, tests: tests.map(testName) },
  models,
};
console.log(toMarkdown(document));
writeResults(root, "llama-bench", document, flags.out);
