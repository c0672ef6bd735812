// The subprocess of exit.test.ts: generates, and at a given moment ends in the way it was told.
import { Worker } from "node:worker_threads";
import { loadModel, type Model } from "../../dist/esm/index.js";

const [path = "", way = "", delay = "0"] = process.argv.slice(2);
const prompt = Array.from({ length: 900 }, (_, i) => 260 + (i % 200));

const slowChat = `{% for i in range(100) %}{% for j in range(300) %}{% set x = j %}{% endfor %}{% endfor %}hi`;
const texts = Array.from({ length: 64 }, (_, i) => `the ${i} otters and `.repeat(20_000));

/** Work for the threads that encode texts. */
function encode(model: Model): Promise<unknown> {
  const messages = [{ role: "user" as const, content: "hi" }];
  const chat = model.chat(messages, { chatTemplate: slowChat, maxTokens: 1 });
  return Promise.allSettled([chat, model.generate(texts[0] as string), model.tokenizeBatch(texts)]);
}

if (way.startsWith("terminate")) {
  // The library inside a worker that is terminated in the middle of a step, or of encoding.
  const work =
    way === "terminate"
      ? `model.generate(${JSON.stringify(prompt)}, { maxTokens: 400, ignoreEos: true })`
      : `(${encode})(model)`;
  const code = `
    import("${new URL("../../dist/esm/index.js", import.meta.url).href}").then(async ({ loadModel }) => {
      const model = await loadModel(${JSON.stringify(path)}, { threads: 1 });
      require("node:worker_threads").parentPort.postMessage("ready");
      const slowChat = ${JSON.stringify(slowChat)};
      const texts = ${JSON.stringify(texts)};
      await ${work};
    });`;
  const worker = new Worker(code, { eval: true });
  await new Promise((resolve) => worker.once("message", resolve));
  await new Promise((resolve) => setTimeout(resolve, Number(delay)));
  await worker.terminate();
  process.exit(7);
}

const model = await loadModel(path, { threads: 1 });
const result = model.generate(prompt, { maxTokens: way.endsWith("encoding") ? 1 : 400, ignoreEos: true });
result.catch(() => {});
if (way.endsWith("encoding")) void encode(model);
setTimeout(() => {
  if (way.startsWith("exit")) process.exit(7);
  if (way === "throw") throw new Error("on purpose");
  if (way === "sigterm") process.kill(process.pid, "SIGTERM");
  if (way === "unref") result.return();
}, Number(delay));
