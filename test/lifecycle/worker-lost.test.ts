// N8: the engine's thread is ended from outside, at any moment: its requests fail with WORKER_LOST, a new thread takes its place and
// the next request works; other replicas and other models go on, nothing native is left. A thread that keeps ending ends the model.
// Node reports every thread of the process on `process`, so no hook in the library is needed.
import type { Worker } from "node:worker_threads";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type Model, WorkerLostError } from "../../dist/esm/index.js";
import { limits } from "../../dist/esm/limits.js";
import { slowTinyModel, tinyModel } from "../support/models.js";

const threads = new Map<number, Worker>();
process.on("worker", (worker) => threads.set(worker.threadId, worker));

function threadsOf(model: Model): Worker[] {
  return model.engineThreadIds.map((id) => threads.get(id) as Worker);
}

async function endEngine(model: Model): Promise<void> {
  const [thread] = threadsOf(model);
  if (thread === undefined) throw new Error("the engine's thread was not reported");
  await thread.terminate();
}

const prompt = Array.from({ length: 600 }, (_, i) => 260 + (i % 200));
const greedy = { temperature: 0, ignoreEos: true };
const caught = (error: unknown): unknown => error;

t.test("in the middle of a request; the next one works", async (t) => {
  const before = binding.counters();
  const other = await loadModel(tinyModel(), { threads: 1 });
  for (const delay of [0, 5, 30]) {
    const model = await loadModel(slowTinyModel(), { threads: 1 });
    const expected = await model.generate("a b c", { ...greedy, maxTokens: 8 });
    const { steps } = model.metrics();
    const awaited = model.generate(prompt, { ...greedy, maxTokens: 300 }).then(undefined, caught);
    const iterated = (async () => {
      for await (const part of model.generate(prompt, { ...greedy, maxTokens: 300 })) part.tokens.length;
    })().catch(caught);
    const scored = model.perplexity(prompt).catch(caught);
    await new Promise((resolve) => setTimeout(resolve, delay));
    await endEngine(model);
    const early = model.generate("a b c", { ...greedy, maxTokens: 8 });
    t.same(model.tokenize("a"), other.tokenize("a"), "the vocabulary stays");
    for (const error of await Promise.all([awaited, iterated, scored])) {
      t.ok(error instanceof WorkerLostError, String(error));
      t.match(error, { code: "WORKER_LOST" });
    }
    const started = performance.now();
    t.same((await early).tokens, expected.tokens, "the next request works");
    t.ok(performance.now() - started < 2000, `${(performance.now() - started).toFixed(0)} ms to start again`);
    t.ok(model.metrics().steps > steps, "steps are counted on");
    t.equal((await other.generate("a", { maxTokens: 3, ignoreEos: true })).tokens.length, 3, "the other model goes on");
    await model.dispose();
  }
  await other.dispose();
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("one of two replicas: the other goes on, the lost one comes back", async (t) => {
  const before = binding.counters();
  const model = await loadModel(slowTinyModel(), { threads: 1, replicas: 2, maxSequences: 1 });
  const results = [0, 1].map(() => model.generate("a", { ...greedy, maxTokens: 200 }).then(undefined, caught));
  for (let i = 0; i < 100 && model.metrics().running < 2; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  await endEngine(model);
  const [first, second] = await Promise.all(results);
  t.match(first, { code: "WORKER_LOST" });
  t.match(second, { finishReason: "length" });
  for (let i = 0; i < 400 && model.engineThreadIds.length < 2; i++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(model.engineThreadIds.length, 2);
  t.equal(model.metrics().freePages, model.metrics().pages);
  const after = await Promise.all([0, 1].map(() => model.generate("a", { ...greedy, maxTokens: 4 })));
  t.same(after[0]?.tokens, after[1]?.tokens);
  await model.dispose();
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("dispose and abort while a thread is started again", async (t) => {
  const before = binding.counters();
  const model = await loadModel(slowTinyModel(), { threads: 1 });
  await endEngine(model);
  const controller = new AbortController();
  const aborted = model.generate("a", { signal: controller.signal });
  const waiting = model.generate("a");
  controller.abort();
  await t.rejects(aborted.then(), { code: "ABORTED" });
  const left = model.generate("a");
  const next = left.next();
  await left.return();
  t.match(await left, { finishReason: "abort" });
  t.match(await next, { done: true });
  const disposed = model.dispose();
  await t.rejects(waiting.then(), { code: "DISPOSED" });
  await disposed;
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("a thread that keeps ending ends the model", async (t) => {
  const before = binding.counters();
  const model = await loadModel(tinyModel(), { threads: 1, replicas: 2 });
  for (let i = 1; i <= limits.maxWorkerLosses; i++) {
    const [first] = model.engineThreadIds;
    await endEngine(model);
    if (i === limits.maxWorkerLosses) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
    while (model.engineThreadIds.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    t.not(model.engineThreadIds[0], first);
  }
  const lost = { code: "WORKER_LOST", message: /3 times within 60 s/ };
  await t.rejects(model.generate("a").then(), lost);
  await t.rejects(model.perplexity("a b c"), lost);
  t.throws(() => model.tokenize("a"), lost);
  await model.dispose();
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("a thread that ends while it starts again ends the model", async (t) => {
  const before = binding.counters();
  const model = await loadModel(slowTinyModel(), { threads: 1 });
  const known = new Set(threads.keys());
  const request = (): Promise<unknown> =>
    model.generate("a", { maxTokens: 1 }).then(
      () => "answered",
      (error: unknown) => (error as { code: string }).code,
    );
  await endEngine(model);
  const outcome = request();
  for (const [id, thread] of threads) if (!known.has(id)) await thread.terminate();
  t.match(await outcome, /^WORKER_LOST$|^answered$/);
  await model.dispose();
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("while it loads", async (t) => {
  const before = binding.counters();
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
