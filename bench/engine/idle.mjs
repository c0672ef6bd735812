/** Processor time of the whole process over two seconds that start 100 ms after a request, with the model loaded. */
import { setTimeout as sleep } from "node:timers/promises";
import { summarize } from "../compare/samples.mjs";
import { someTokens } from "./native-loop.mjs";

export const title = "Processor time when idle";
export const columns = ["share of a core"];

const settleMs = 100;
const watchMs = 2000;

export async function measure({ rounds, loadModel }) {
  const model = await loadModel({ contextSize: 64, maxSequences: 1 });
  const ids = someTokens(model.info.vocabSize, 8);
  const shares = [];
  for (let round = 0; round < rounds; round++) {
    await model.generate(ids, { maxTokens: 16, temperature: 0, ignoreEos: true });
    await sleep(settleMs);
    const [start, before] = [performance.now(), process.cpuUsage()];
    await sleep(watchMs);
    const { user, system } = process.cpuUsage(before);
    shares.push((user + system) / 1000 / (performance.now() - start));
  }
  await model.dispose();
  return [{ share: summarize(shares) }];
}

export const toCells = ({ share }) => [`${(share.median * 100).toFixed(2)} %`];
