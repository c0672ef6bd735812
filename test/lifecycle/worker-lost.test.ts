// N8: the engine's thread is ended from outside, at any moment: its requests fail with WORKER_LOST, nothing native is left, other
// models go on and the next load works. Node reports every thread of the process on `process`, so no hook in the library is needed.
import type { Worker } from "node:worker_threads";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type Model, WorkerLostError } from "../../dist/esm/index.js";
import { slowTinyModel, tinyModel } from "../support/models.js";

const threads = new Map<number, Worker>();
process.on("worker", (worker) => threads.set(worker.threadId, worker));

function threadOf(model: Model): Worker {
  const thread = threads.get(model.engineThreadId);
  if (thread === undefined) throw new Error("the engine's thread was not reported");
  return thread;
}

const prompt = Array.from({ length: 600 }, (_, i) => 260 + (i % 200));

t.test("in the middle of a request", async (t) => {
  const before = binding.counters();
  const other = await loadModel(tinyModel(), { threads: 1 });
  for (const delay of [0, 5, 30]) {
    const model = await loadModel(slowTinyModel(), { threads: 1 });
    const awaited = model
      .generate(prompt, { maxTokens: 300, ignoreEos: true })
      .then(undefined, (error: unknown) => error);
    const iterated = (async () => {
      for await (const part of model.generate(prompt, { maxTokens: 300, ignoreEos: true })) part.tokens.length;
    })().catch((error: unknown) => error);
    const scored = model.perplexity(prompt).catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, delay));
    await threadOf(model).terminate();
    for (const error of await Promise.all([awaited, iterated, scored])) {
      t.ok(error instanceof WorkerLostError, String(error));
      t.match(error, { code: "WORKER_LOST" });
    }
    await t.rejects(model.generate("a").then(), { code: "WORKER_LOST" }, "a lost model stays lost");
    t.throws(() => model.tokenize("a"), { code: "WORKER_LOST" });
    t.equal((await other.generate("a", { maxTokens: 3, ignoreEos: true })).tokens.length, 3, "the other model goes on");
    await model.dispose();
  }
  await other.dispose();
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("idle, and while it loads", async (t) => {
  const before = binding.counters();
  const idle = await loadModel(tinyModel(), { threads: 1 });
  await threadOf(idle).terminate();
  await t.rejects(idle.generate("a").then(), { code: "WORKER_LOST" });
  await idle.dispose();
  const next = new Promise<Worker>((resolve) => process.once("worker", resolve));
  const loading = loadModel(slowTinyModel(), { threads: 1 });
  const outcome = loading.then(
    (model) => model.dispose().then(() => "loaded before it died"),
    (error: { code?: string }) => error.code,
  );
  await (await next).terminate();
  t.match(await outcome, /^WORKER_LOST$|^loaded/);
  t.same(binding.counters(), before, "nothing native is left");
});
