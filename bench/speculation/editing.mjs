/**
 * Files to be given back as they are or with a small change, the beginning of the answer given: what speculation gains where
 * most of the answer stands in the prompt. Plain decoding and speculation in turns, a fresh model each round.
 *
 *   node bench/speculation/editing.mjs [--model NAME|PATH] [--tokens 160] [--rounds 3] [--out FILE]
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measurePrompt } from "../../dist/esm/bench/index.js";
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
const prompts = editingPrompts.map(({ text, begin = "" }) => ({
  category: "editing",
  text: `${text}\n\n${begin}`,
  isCompletion: true,
}));

const results = prompts.map(() => []);
const plain = await load("off");
for (let round = 0; round < rounds; round++) {
  const drafting = await load("auto");
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const [i, prompt] of prompts.entries()) {
    const options = { temperature: 0, maxTokens, draftingFirst: (i + round) % 2 === 1 };
    const result = await measurePrompt({ plain, drafting }, prompt, options);
    if (!result.isIdentical) throw new Error(`${editingPrompts[i].id}: the tokens differ`);
    results[i].push(result);
  }
  await drafting.dispose();
}
await plain.dispose();
const rows = editingPrompts.map(({ id }, i) => ({
  id,
  looping: results[i][0].isLooping,
  tokensAStep: 1 + results[i].at(-1).accepted / results[i].at(-1).steps,
  speedup: summarize(results[i].map(({ plainMs, draftingMs }) => plainMs / draftingMs)),
}));
const usual = rows.filter((row) => !row.looping);
const mean = usual.reduce((sum, { speedup }) => sum + speedup.median, 0) / usual.length;
for (const { id, looping: loops, tokensAStep, speedup } of rows)
  console.log(`${id}: ${speedup.median.toFixed(2)} ×, ${tokensAStep.toFixed(2)} tokens a step${loops ? ", looping" : ""}`);
console.log(`mean of ${usual.length} that do not loop: ${mean.toFixed(2)} ×`);
const kept = { maxTokens, rounds };
writeResults(root, "speculation-editing", { ...run, model: basename(flags.model), flags: kept, results: { mean, rows } }, flags.out);
