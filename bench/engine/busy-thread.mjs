/** What decode loses while another JavaScript thread of the process computes without a pause. */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { summarize } from "../compare/samples.mjs";
import { someTokens } from "./native-loop.mjs";

export const title = "Decode beside a busy JavaScript thread";
export const columns = ["alone tokens/s", "beside it tokens/s", "loss"];

/** Sleeps while flag[0] is 0, computes while it is 1, ends at 2. */
const spinner = `
  const { workerData: flag } = require("node:worker_threads");
  let x = 1;
  for (;;) {
    Atomics.wait(flag, 0, 0);
    if (flag[0] === 2) break;
    while (Atomics.load(flag, 0) === 1) for (let i = 0; i < 1000; i++) x = (x * 1103515245 + 12345) | 0;
  }
`;

function set(flag, value) {
  Atomics.store(flag, 0, value);
  Atomics.notify(flag, 0);
}

export async function measure({ rounds, steps, loadModel }) {
  const model = await loadModel({ contextSize: steps + 16, maxSequences: 1 });
  const ids = someTokens(model.info.vocabSize, 8);
  const decode = async () => {
    const result = await model.generate(ids, { maxTokens: steps + 1, temperature: 0, ignoreEos: true });
    return (steps * 1000) / result.timings.predictedMs;
  };
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(spinner, { eval: true, workerData: flag });
  const runs = { alone: [], beside: [] };
  await decode();
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? ["alone", "beside"] : ["beside", "alone"]) {
      set(flag, side === "beside" ? 1 : 0);
      await sleep(100);
      runs[side].push(await decode());
      set(flag, 0);
    }
  }
  set(flag, 2);
  await worker.terminate();
  await model.dispose();
  const loss = summarize(runs.alone.map((alone, round) => 1 - runs.beside[round] / alone));
  return [{ alone: summarize(runs.alone), beside: summarize(runs.beside), loss }];
}

export const toCells = ({ alone, beside, loss }) => [
  alone.median.toFixed(1),
  beside.median.toFixed(1),
  `${(loss.median * 100).toFixed(0)} %`,
];
