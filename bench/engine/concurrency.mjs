/** Streams that decode together through generate(), 1 to 8: tokens per second of all, and whether more is ever less. */
import { measureLutra, neededContext } from "../../dist/esm/bench/index.js";
import { summarize } from "../compare/samples.mjs";

export const title = "Streams together";
export const columns = ["streams", "tokens/s", "t(B) / t(1)", "total / single", "÷ one stream less"];

const streams = Array.from({ length: 8 }, (_, i) => i + 1);
const promptTokens = 64;

export async function measure({ rounds, steps, loadModel }) {
  const tests = streams.map((batch) => ({ kind: "tg", n: steps, depth: promptTokens, batch }));
  const model = await loadModel({ contextSize: neededContext(tests), maxSequences: streams.length });
  const speeds = new Map(streams.map((batch) => [batch, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const test of round % 2 === 0 ? tests : [...tests].reverse()) {
      const { tokens, ms } = await measureLutra(model, test, round, {});
      if (round > 0) speeds.get(test.batch).push((tokens * 1000) / ms);
    }
  }
  await model.dispose();
  return streams.map((batch) => {
    const own = speeds.get(batch);
    const against = (other) => summarize(own.map((speed, round) => speed / speeds.get(other)[round]));
    return {
      streams: batch,
      tokensPerSecond: summarize(own),
      stepRatio: summarize(own.map((speed, round) => (batch * speeds.get(1)[round]) / speed)),
      totalOverSingle: against(1),
      overOneLess: batch > 1 ? against(batch - 1) : undefined,
    };
  });
}

export const toCells = ({ streams: batch, tokensPerSecond, stepRatio, totalOverSingle, overOneLess }) => [
  batch,
  tokensPerSecond.median.toFixed(1),
  stepRatio.median.toFixed(2),
  totalOverSingle.median.toFixed(2),
  overOneLess ? overOneLess.median.toFixed(2) : "",
];
