// The subprocess of exit.test.ts: generates, and at a given moment ends in the way it was told.
import { Worker } from "node:worker_threads";
import { loadModel } from "../../dist/esm/index.js";

const [path = "", way = "", delay = "0"] = process.argv.slice(2);
const prompt = Array.from({ length: 900 }, (_, i) => 260 + (i % 200));

if (way === "terminate") {
  // The library inside a worker that is terminated in the middle of a step.
  const code = `
    import("${new URL("../../dist/esm/index.js", import.meta.url).href}").then(async ({ loadModel }) => {
      const model = await loadModel(${JSON.stringify(path)}, { threads: 1 });
      require("node:worker_threads").parentPort.postMessage("ready");
      await model.generate(${JSON.stringify(prompt)}, { maxTokens: 400, ignoreEos: true });
    });`;
  const worker = new Worker(code, { eval: true });
  await new Promise((resolve) => worker.once("message", resolve));
  await new Promise((resolve) => setTimeout(resolve, Number(delay)));
  await worker.terminate();
  process.exit(7);
}

const model = await loadModel(path, { threads: 1 });
const result = model.generate(prompt, { maxTokens: 400, ignoreEos: true });
result.catch(() => {});
setTimeout(() => {
  if (way === "exit") process.exit(7);
  if (way === "throw") throw new Error("on purpose");
  if (way === "sigterm") process.kill(process.pid, "SIGTERM");
  if (way === "unref") result.return();
}, Number(delay));
