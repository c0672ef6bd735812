/** Four streams decode when a prompt of 4,000 tokens arrives: what a token of theirs takes before it and during it. */
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../../dist/esm/bench/index.js";
import { summarize } from "../compare/samples.mjs";
import { someTokens } from "./native-loop.mjs";
import { follow, gapsWithin, greedy, timeToFirstToken } from "./token-times.mjs";

export const title = "A long prompt beside decoding streams";
export const columns = [
  "prompt tokens",
  "streams",
  "p50 before ms",
  "p50 during ms",
  "p99 before ms",
  "p99 during ms",
  "p99 ratio",
  "TTFT of the prompt ms",
  "TTFT alone ms",
];

const promptTokens = 4000;
const streams = 4;
const streamPrompt = 64;
/** Tokens of every stream before the prompt arrives, so that a 99th percentile of them means something. */
const tokensBefore = 128;

export async function measure({ rounds, loadModel }) {
  const model = await loadModel({ contextSize: promptTokens + 256, maxSequences: streams + 1 });
  const runs = [];
  // Round 0 warms up and does not count.
  for (let round = 0; round <= rounds; round++) {
    const run = await measureRound(model, round);
    if (round > 0) runs.push(run);
  }
  await model.dispose();
  const of = (name, share) => summarize(runs.map((run) => percentile(run[name], share)));
  const figures = { p50Before: of("before", 0.5), p50During: of("during", 0.5) };
  const [p99Before, p99During] = [of("before", 0.99), of("during", 0.99)];
  return [
    {
      promptTokens,
      streams,
      ...figures,
      p99Before,
      p99During,
      p99Ratio: summarize(p99During.samples.map((during, i) => during / p99Before.samples[i])),
      ttftMs: summarize(runs.map(({ ttftMs }) => ttftMs)),
      ttftAloneMs: summarize(runs.map(({ aloneMs }) => aloneMs)),
      gapsDuring: runs.map(({ during }) => during.length),
    },
  ];
}

async function measureRound(model, round) {
  const { vocabSize } = model.info;
  const ids = (length, run) => someTokens(vocabSize, length, 16 * round + run);
  const alone = await timeToFirstToken(model, ids(promptTokens, 0));
  const running = Array.from({ length: streams }, (_, s) =>
    follow(model.generate(ids(streamPrompt, 1 + s), { ...greedy, maxTokens: promptTokens })),
  );
  await reached(running, 1);
  const start = performance.now();
  await reached(running, tokensBefore);
  const arrived = performance.now();
  const long = await timeToFirstToken(model, ids(promptTokens, 8));
  const ended = performance.now();
  await Promise.all(running.map(({ stream }) => stream.return()));
  await Promise.all(running.map((each) => each.ended));
  const gaps = (from, to) => running.flatMap(({ arrivals }) => gapsWithin(arrivals, from, to));
  return { before: gaps(start, arrived), during: gaps(arrived, ended), ttftMs: long.ms, aloneMs: alone.ms };
}

/** Every stream has this many tokens. */
async function reached(running, tokens) {
  while (running.some(({ arrivals }) => arrivals.length < tokens)) await sleep(2);
}

export const toCells = (row) => [
  row.promptTokens,
  row.streams,
  row.p50Before.median.toFixed(1),
  row.p50During.median.toFixed(1),
  row.p99Before.median.toFixed(1),
  row.p99During.median.toFixed(1),
  row.p99Ratio.median.toFixed(2),
  row.ttftMs.median.toFixed(0),
  row.ttftAloneMs.median.toFixed(0),
];
