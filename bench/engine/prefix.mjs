/** Two requests that begin with the same 1,024 tokens: time to first token, cold and warm. */
import { summarize } from "../compare/samples.mjs";
import { someTokens } from "./native-loop.mjs";
import { timeToFirstToken } from "./token-times.mjs";

export const title = "A shared prefix";
export const columns = [
  "prefix",
  "own tokens",
  "TTFT cold ms",
  "TTFT warm ms",
  "warm / cold",
  "cached tokens",
  "computed tokens",
];

const prefixTokens = 1024;
const ownTokens = 32;

export async function measure({ rounds, loadModel }) {
  const model = await loadModel({ contextSize: prefixTokens + ownTokens + 32, maxSequences: 2 });
  const { vocabSize } = model.info;
  const runs = [];
  for (let round = 0; round <= rounds; round++) {
    const prefix = someTokens(vocabSize, prefixTokens, 4 * round);
    const own = (run) => someTokens(vocabSize, ownTokens, 4 * round + run);
    const cold = await timeToFirstToken(model, [...prefix, ...own(1)]);
    const warm = await timeToFirstToken(model, [...prefix, ...own(2)]);
    if (round > 0) runs.push({ cold, warm });
  }
  await model.dispose();
  // Null where the engine does not tell.
  const cachedTokens = runs.at(-1).warm.usage.cachedTokens ?? null;
  return [
    {
      prefixTokens,
      ownTokens,
      coldMs: summarize(runs.map(({ cold }) => cold.ms)),
      warmMs: summarize(runs.map(({ warm }) => warm.ms)),
      ratio: summarize(runs.map(({ cold, warm }) => warm.ms / cold.ms)),
      cachedTokens,
      computedTokens: cachedTokens === null ? null : prefixTokens + ownTokens - cachedTokens,
    },
  ];
}

export const toCells = ({ coldMs, warmMs, ratio, cachedTokens, computedTokens }) => [
  prefixTokens,
  ownTokens,
  coldMs.median.toFixed(1),
  warmMs.median.toFixed(1),
  ratio.median.toFixed(3),
  cachedTokens ?? "",
  computedTokens ?? "",
];
