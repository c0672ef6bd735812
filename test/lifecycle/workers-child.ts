// The subprocess of workers.test.ts: eight workers at a time load the addon and a model, compute, and end, half of them terminated.
import { copyFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { binding, bindingReport } from "../../dist/esm/binding/index.js";

const [path = "", rounds = "8", copy = ""] = process.argv.slice(2);
const code = `
  import("${new URL("../../dist/esm/binding/index.js", import.meta.url).href}").then(({ binding }) => {
    const model = binding.modelAcquire(${JSON.stringify(path)}, 1, new Int32Array(1));
    const tokenizer = binding.modelTokenizer(model);
    const engine = binding.engineCreate(model, { threads: 2, maxRows: 8, maxWanted: 1, pages: 2, isa: binding.cpu().isa });
    const ids = binding.encode(tokenizer, "a b c", false, false).join();
    const { parentPort, workerData } = require("node:worker_threads");
    if (workerData.tidy) {
      binding.engineRelease(engine);
      binding.tokenizerRelease(tokenizer);
      binding.modelRelease(model);
    } else setInterval(() => {}, 1000);
    parentPort.postMessage(ids);
  });`;

async function runOne(tidy: boolean): Promise<string> {
  const worker = new Worker(code, { eval: true, workerData: { tidy } });
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  const ids = await new Promise<string>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  // The untidy ones leave their native objects to the end of their environment.
  if (!tidy) await worker.terminate();
  await exited;
  return ids;
}

const answers = new Set<string>();
const rss: number[] = [];
for (let round = 0; round < Number(rounds); round++) {
  for (const ids of await Promise.all(Array.from({ length: 8 }, (_, i) => runOne(i % 2 === 0)))) answers.add(ids);
  rss.push(process.memoryUsage.rss());
}

// The same addon under a second path is a second library with objects of its own.
copyFileSync(bindingReport().path as string, copy);
const second = createRequire(import.meta.url)(copy) as typeof binding;
const handle = second.tokenizerAcquire(path);
answers.add(second.encode(handle, "a b c", false, false).join());
const apart = second.counters().tokenizers === 1 && binding.counters().tokenizers === 0;
second.tokenizerRelease(handle);

process.stdout.write(JSON.stringify({ answers: [...answers], rss, apart, counters: binding.counters() }));
