/**
 * Several streams at once, with speculation and without, in turns: where the batch uses the machine, drafts must not cost.
 *
 *   node bench/speculation/streams.mjs [--model NAME|PATH] [--streams 4] [--prompts 16] [--tokens 96] [--rounds 5] [--out FILE]
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { summarize } from "../compare/samples.mjs";
import { readPrompts } from "./prompts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    streams: { type: "string", default: "4" },
    prompts: { type: "string", default: "16" },
    tokens: { type: "string", default: "96" },
    rounds: { type: "string", default: "5" },
    out: { type: "string" },
  },
});
const [streams, prompts, maxTokens, rounds] = [flags.streams, flags.prompts, flags.tokens, flags.rounds].map(Number);
const run = describeRun(root);
const asked = readPrompts(prompts)
  .filter(({ text }) => text.length < 600)
  .filter((_, i, all) => i % Math.max(1, Math.floor(all.length / prompts)) === 0)
  .slice(0, prompts);
const load = (speculation) =>
  loadModel(flags.model, { threads: 2, contextSize: 2048, maxSequences: streams, speculation });

/** Tokens a second of all streams together. */
async function measure(model) {
  const started = performance.now();
  let [next, tokens] = [0, 0];
  const client = async () => {
    for (let i = next++; i < asked.length; i = next++) {
      const request = { temperature: 0, maxTokens, cachePrompt: false, ignoreEos: true };
      const result = await model.generate(asked[i].text, request);
      tokens += result.tokens.length;
    }
  };
  await Promise.all(Array.from({ length: streams }, client));
  return (tokens * 1000) / (performance.now() - started);
}

const speeds = { off: [], auto: [] };
const off = await load("off");
for (let round = 0; round < rounds; round++) {
  // A new one each round: the last one remembers what it said.
  const auto = await load("auto");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const sides = [
    ["off", off],
    ["auto", auto],
  ];
  for (const [name, model] of round % 2 === 0 ? sides : sides.reverse()) speeds[name].push(await measure(model));
  await auto.dispose();
}
await off.dispose();
const results = {
  off: summarize(speeds.off),
  auto: summarize(speeds.auto),
  ratio: summarize(speeds.auto.map((speed, i) => speed / speeds.off[i])),
};
console.log(
  `${streams} streams: ${results.off.median.toFixed(1)} tokens/s without, ${results.auto.median.toFixed(1)} with speculation, ${results.ratio.median.toFixed(3)} ×`,
);
const kept = { streams, prompts: asked.length, maxTokens, rounds };
writeResults(root, "speculation-streams", { ...run, model: basename(flags.model), flags: kept, results }, flags.out);
