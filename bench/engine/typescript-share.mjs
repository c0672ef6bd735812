/** What the TypeScript side adds to a step: the bare native loop against generate(), in turn, on the same tokens. */
import { setTimeout as sleep } from "node:timers/promises";
import { summarize } from "../compare/samples.mjs";
import { NativeLoop, someTokens } from "./native-loop.mjs";

const settings = [
  { name: "greedy", k: 1, options: { temperature: 0 } },
  { name: "sampled, top 40", k: 40, options: { temperature: 0.8, topK: 40, seed: 1 } },
];

export const title = "TypeScript's share of a step";
export const columns = ["sampling", "native ms", "whole ms", "share of a step"];

export async function measure({ path, threads, rounds, steps, loadModel }) {
  const promptTokens = 8;
  const model = await loadModel({ contextSize: promptTokens + steps + 1, maxSequences: 1 });
  const { isa } = model.info;
  const native = new NativeLoop(path, { threads, isa, positions: promptTokens + steps + 1 });
  const ids = someTokens(native.info.vocabSize, promptTokens);
  const runs = settings.map(() => ({ native: [], whole: [] }));
  // Round 0 warms up and does not count.
  for (let round = 0; round <= rounds; round++) {
    for (const [i, { k, options }] of settings.entries()) {
      const work = {
        native: () => native.decode(native.prompt(ids), promptTokens, steps, k),
        whole: async () => {
          const request = { ...options, maxTokens: steps + 1, ignoreEos: true };
          return (await model.generate(ids, request)).timings.predictedMs / steps;
        },
      };
      for (const side of round % 2 === 0 ? ["native", "whole"] : ["whole", "native"]) {
        await sleep(50);
        const ms = await work[side]();
        if (round > 0) runs[i][side].push(ms);
      }
    }
  }
  native.release();
  await model.dispose();
  return settings.map(({ name }, i) => {
    const shares = runs[i].whole.map((whole, round) => 1 - runs[i].native[round] / whole);
    return {
      sampling: name,
      nativeMs: summarize(runs[i].native),
      wholeMs: summarize(runs[i].whole),
      share: summarize(shares),
    };
  });
}

export const toCells = ({ sampling, nativeMs, wholeMs, share }) => [
  sampling,
  nativeMs.median.toFixed(3),
  wholeMs.median.toFixed(3),
  `${(share.median * 100).toFixed(1)} %`,
];
