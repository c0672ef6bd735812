/**
 * Time of a step of B rows, each of another sequence, against a step of one: natively, and through generate() with B
 * requests at once.
 */
import { measureLutra, neededContext } from "../../dist/esm/bench/index.js";
import { summarize } from "../compare/samples.mjs";
import { NativeLoop, someTokens } from "./native-loop.mjs";

export const title = "Steps of several sequences";
export const columns = ["B", "step ms", "t(B) / t(1)", "total / single", "generate() total / single"];

const batches = Array.from({ length: 16 }, (_, i) => i + 1);
const apiBatches = [1, 2, 4, 8, 16];
const promptTokens = 64;

export async function measure({ path, threads, isa, rounds, steps, loadModel }) {
  const native = measureNative({ path, threads, isa, rounds, steps: Math.min(steps, 32) });
  const api = await measureApi({ rounds, steps, loadModel });
  return batches.map((batch) => {
    const single = native.get(1);
    const times = native.get(batch);
    const ratio = summarize(times.map((ms, round) => ms / single[round]));
    const served = api.get(batch);
    return {
      batch,
      stepMs: summarize(times),
      ratio,
      totalOverSingle: batch / ratio.median,
      apiTokensPerSecond: served && summarize(served),
      apiTotalOverSingle: served && summarize(served.map((speed, round) => speed / api.get(1)[round])),
    };
  });
}

function measureNative({ path, threads, isa, rounds, steps }) {
  const positions = promptTokens + steps;
  const native = new NativeLoop(path, { threads, isa, positions, sequences: batches.length });
  for (const s of batches.keys()) native.prompt(someTokens(native.info.vocabSize, promptTokens, s), s);
  const times = new Map(batches.map((batch) => [batch, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const batch of round % 2 === 0 ? batches : [...batches].reverse()) {
      const { median } = summarize(native.decodeBatch(batch, promptTokens, steps));
      if (round > 0) times.get(batch).push(median);
    }
  }
  native.release();
  return times;
}

/** Tokens a second of all requests together. */
async function measureApi({ rounds, steps, loadModel }) {
  const tests = apiBatches.map((batch) => ({ kind: "tg", n: steps, depth: promptTokens, batch }));
  const model = await loadModel({ contextSize: neededContext(tests), maxSequences: Math.max(...apiBatches) });
  const speeds = new Map(apiBatches.map((batch) => [batch, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const test of round % 2 === 0 ? tests : [...tests].reverse()) {
      const { tokens, ms } = await measureLutra(model, test, round, {});
      if (round > 0) speeds.get(test.batch).push((tokens * 1000) / ms);
    }
  }
  await model.dispose();
  return speeds;
}

export const toCells = ({ batch, stepMs, ratio, totalOverSingle, apiTotalOverSingle }) => [
  batch,
  stepMs.median.toFixed(2),
  ratio.median.toFixed(2),
  totalOverSingle.toFixed(2),
  apiTotalOverSingle ? apiTotalOverSingle.median.toFixed(2) : "",
];
