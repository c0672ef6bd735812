/**
 * Records traces for replay.mjs: what a model answers greedily to the prompts, with the eight likeliest tokens at every
 * position. One line of JSON an answer, in build/traces/<model>.ndjson.
 *
 *   node bench/speculation/record.mjs [--model NAME|PATH] [--prompts 12] [--categories chat,…] [--tokens 160] [--threads 2]
 *     [--out FILE]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { renderChat } from "../../dist/esm/chat/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { categories, readPrompts } from "./prompts.mjs";

const kept = 8;
/** Streams at a time: an answer does not depend on its neighbours, bit for bit. */
const streams = 4;

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    prompts: { type: "string", default: "12" },
    categories: { type: "string", default: categories.join(",") },
    tokens: { type: "string", default: "160" },
    threads: { type: "string", default: "2" },
    out: { type: "string" },
  },
});

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const model = await loadModel(flags.model, { threads: Number(flags.threads), maxSequences: streams });
const name = basename(flags.model, ".gguf");
const out = flags.out ?? join(root, "build", "traces", `${name}.ndjson`);
const wanted = flags.categories.split(",");
const prompts = readPrompts(Number(flags.prompts)).filter(({ category }) => wanted.includes(category));
const traces = [];
let next = 0;
await Promise.all(
  Array.from({ length: streams }, async () => {
    while (next < prompts.length) {
      const index = next++;
      traces[index] = await record(prompts[index]);
    }
  }),
);
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, traces.map((trace) => `${JSON.stringify(trace)}\n`).join(""));
console.log(`${traces.length} traces, ${traces.filter(({ loops }) => loops).length} of them loop: ${out}`);
await model.dispose();

async function record({ id, category, text, begin = "" }) {
  const template = model.info.chatTemplate;
  const prompt =
    template === null
      ? model.tokenize(`${text}\n\n${begin}`)
      : model.tokenize(renderChat(template, [{ role: "user", content: text }]) + begin, { parseSpecial: true });
  const options = { temperature: 0, maxTokens: Number(flags.tokens), logprobs: kept };
  const { tokens, logprobs } = await model.generate(prompt, options);
  return {
    model: name,
    vocabSize: model.info.vocabSize,
    id,
    category,
    loops: isLooping(tokens),
    prompt: Array.from(prompt),
    tokens,
    topIds: logprobs.map(({ top }) => top.map(({ token }) => token)),
    topLogprobs: logprobs.map(({ top }) => top.map(({ logprob }) => Number(logprob.toFixed(3)))),
  };
}

/** Some 16 of the last 64 tokens stand there three times: a small model's greedy answer that goes round in circles. */
function isLooping(tokens) {
  const last = tokens.slice(-64);
  const counts = new Map();
  for (let i = 0; i + 16 <= last.length; i++) {
    const gram = last.slice(i, i + 16).join();
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return [...counts.values()].some((count) => count >= 3);
}
