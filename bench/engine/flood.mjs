/**
 * 200 requests at once: how they end, what memory the process takes at its peak, and how late the main thread's event
 * loop gets beside them.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { percentile } from "../../dist/esm/bench/index.js";
import { summarize } from "../compare/samples.mjs";
import { someTokens } from "./native-loop.mjs";
import { greedy } from "./token-times.mjs";

export const title = "200 requests at once";
export const columns = [
  "requests",
  "finished",
  "errors",
  "seconds",
  "tokens/s",
  "RSS before MB",
  "peak RSS MB",
  "event loop delay p99 ms",
  "last / first end",
];

const requests = 200;
const maxRounds = 2;
const rssEveryMs = 20;
/** The monitor's timer: what it reports is the time between two ticks, so this is taken off. */
const resolutionMs = 1;

export async function measure({ rounds, steps, loadModel }) {
  const maxTokens = Math.min(steps, 32);
  const model = await loadModel({ contextSize: 128 + maxTokens, maxSequences: 8 });
  await model.generate(someTokens(model.info.vocabSize, 128), { ...greedy, maxTokens });
  const runs = [];
  for (let round = 0; round < Math.min(rounds, maxRounds); round++) runs.push(await flood(model, maxTokens, round));
  await model.dispose();
  const of = (name) => summarize(runs.map((run) => run[name]));
  return [
    {
      requests,
      maxTokens,
      finished: runs.map(({ finished }) => finished),
      errors: runs.map(({ errors }) => errors),
      seconds: of("seconds"),
      tokensPerSecond: of("tokensPerSecond"),
      rssBefore: of("rssBefore"),
      peakRss: of("peakRss"),
      delayP99Ms: of("delayP99Ms"),
      delayMaxMs: of("delayMaxMs"),
      endedP50Ms: of("endedP50Ms"),
      endedP99Ms: of("endedP99Ms"),
      lastOverFirst: of("lastOverFirst"),
    },
  ];
}

async function flood(model, maxTokens, round) {
  const rssBefore = process.memoryUsage.rss();
  let peakRss = rssBefore;
  const watch = setInterval(() => {
    peakRss = Math.max(peakRss, process.memoryUsage.rss());
  }, rssEveryMs);
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  const start = performance.now();
  const outcomes = await Promise.all(
    Array.from({ length: requests }, async (_, i) => {
      // Prompts of 16 to 128 tokens, of which no two are alike.
      const prompt = someTokens(model.info.vocabSize, 16 * (1 + (i % 8)), requests * round + i + 1);
      const end = { code: undefined, tokens: 0, ms: 0 };
      try {
        end.tokens = (await model.generate(prompt, { ...greedy, maxTokens })).tokens.length;
      } catch (error) {
        end.code = error.code ?? "no code";
      }
      end.ms = performance.now() - start;
      return end;
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  clearInterval(watch);
  const ended = outcomes.map(({ ms }) => ms);
  const failed = outcomes.flatMap(({ code }) => (code === undefined ? [] : [code]));
  return {
    finished: requests - failed.length,
    errors: countCodes(failed),
    seconds,
    tokensPerSecond: outcomes.reduce((sum, { tokens }) => sum + tokens, 0) / seconds,
    rssBefore,
    peakRss,
    delayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - resolutionMs),
    delayMaxMs: Math.max(0, delay.max / 1e6 - resolutionMs),
    endedP50Ms: percentile(ended, 0.5),
    endedP99Ms: percentile(ended, 0.99),
    lastOverFirst: Math.max(...ended) / Math.min(...ended),
  };
}

/** Code → how often. */
function countCodes(codes) {
  const counts = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}

export const toCells = (row) => [
  row.requests,
  row.finished.join(", "),
  row.errors.flatMap((errors) => Object.entries(errors).map(([code, count]) => `${code} ${count}`)).join(", "),
  row.seconds.median.toFixed(1),
  row.tokensPerSecond.median.toFixed(1),
  (row.rssBefore.median / 1e6).toFixed(0),
  (row.peakRss.median / 1e6).toFixed(0),
  row.delayP99Ms.median.toFixed(2),
  row.lastOverFirst.median.toFixed(1),
];
