/**
 * Files to be given back as they are or with a small change, the beginning of the answer given: what speculation gains where
 * most of the answer stands in the prompt. Plain decoding and speculation in turns, a fresh model each round.
 *
 *   node bench/speculation/editing.mjs [--model NAME|PATH] [--tokens 160] [--rounds 3] [--out FILE]
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { isLooping } from "../../dist/esm/bench/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";
import { summarize } from "../compare/samples.mjs";
import { editingPrompts } from "./editing-prompts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m-instruct" },
    tokens: { type: "string", default: "160" },
    rounds: { type: "string", default: "3" },
    out: { type: "string" },
  },
});
const [maxTokens, rounds] = [flags.tokens, flags.rounds].map(Number);
const run = describeRun(root);
const load = (speculation) => loadModel(flags.model, { threads: 2, contextSize: 4096, maxSequences: 1, speculation });
const ask = (model, { text, begin = "" }) =>
  model.generate(`${text}\n\n${begin}`, { temperature: 0, maxTokens, cachePrompt: false });

const speedups = editingPrompts.map(() => []);
const steps = editingPrompts.map(() => 0);
const looping = editingPrompts.map(() => false);
const plain = await load("off");
for (let round = 0; round < rounds; round++) {
  const drafting = await load("auto");
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const [i, prompt] of editingPrompts.entries()) {
    const [first, second] = (i + round) % 2 === 0 ? [plain, drafting] : [drafting, plain];
    const results = new Map([
      [first, await ask(first, prompt)],
      [second, await ask(second, prompt)],
    ]);
    const [off, auto] = [results.get(plain), results.get(drafting)];
    if (off.tokens.join() !== auto.tokens.join()) throw new Error(`${prompt.id}: the tokens differ`);
    speedups[i].push(off.timings.predictedMs / auto.timings.predictedMs);
    steps[i] = auto.speculation.meanAccepted;
    looping[i] = isLooping(off.tokens);
  }
  await drafting.dispose();
}
await plain.dispose();
const rows = editingPrompts.map(({ id }, i) => ({
  id,
  looping: looping[i],
  tokensAStep: steps[i],
  speedup: summarize(speedups[i]),
}));
const usual = rows.filter((row) => !row.looping);
const mean = usual.reduce((sum, { speedup }) => sum + speedup.median, 0) / usual.length;
for (const { id, looping: loops, tokensAStep, speedup } of rows)
  console.log(`${id}: ${speedup.median.toFixed(2)} ×, ${tokensAStep.toFixed(2)} tokens a step${loops ? ", looping" : ""}`);
console.log(`mean of ${usual.length} that do not loop: ${mean.toFixed(2)} ×`);
const kept = { maxTokens, rounds };
writeResults(root, "speculation-editing", { ...run, model: basename(flags.model), flags: kept, results: { mean, rows } }, flags.out);
