// N3 and N2 for texts that are encoded off the caller's thread: abort and dispose while they wait and while they run, at many instants,
// a thread that dies under them, and models that nobody holds: typed errors, no crash, nothing left.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { setTimeout as wait } from "node:timers/promises";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { shortTaskThreads } from "../../dist/esm/worker/index.js";
import { tinyModel, tinyTemplate } from "../support/models.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const slowTemplate = `{% for i in range(50) %}{% for j in range(300) %}{% set x = j %}{% endfor %}{% endfor %}${tinyTemplate}`;
const longText = "the otter and the sea ".repeat(8000);
const messages = [{ role: "user" as const, content: "hi" }];
const load = (): Promise<Model> => loadModel(tinyModel(), { threads: 1, contextSize: 256 });

/** One of each kind that takes time off this thread, more than the threads can run at once. */
function startAll(model: Model, signal: AbortSignal | undefined): Promise<string[]> {
  const options = signal === undefined ? {} : { signal };
  const chat = { ...options, chatTemplate: slowTemplate, maxTokens: 1, ignoreEos: true };
  const work = [
    model.chat(messages, chat),
    model.generate(longText, options),
    model.tokenizeBatch([longText, longText, longText, longText], options),
    model.chat(messages, chat),
    model.perplexity(longText, options),
  ];
  const codeOf = (error: { code: string }): string => error.code;
  return Promise.all(work.map((each) => Promise.resolve(each).then(() => "done", codeOf)));
}

t.test("abort at many instants", async (t) => {
  const before = binding.counters();
  const model = await load();
  const seen = new Set<string>();
  for (const delay of [0, 2, 10, 30, 60, 100, 150, 250]) {
    const controller = new AbortController();
    const outcomes = startAll(model, controller.signal);
    await wait(delay);
    controller.abort();
    for (const outcome of await outcomes) seen.add(outcome);
  }
  t.ok(
    [...seen].every((code) => ["ABORTED", "done", "CONTEXT_OVERFLOW"].includes(code)),
    [...seen].join(),
  );
  t.ok(seen.has("ABORTED"));
  const chat = await model.chat(messages, { chatTemplate: tinyTemplate, maxTokens: 2, ignoreEos: true });
  t.equal(chat.tokens.length, 2, "and the model goes on");
  await model.dispose();
  t.same(binding.counters(), before);
});

t.test("dispose at many instants", async (t) => {
  const before = binding.counters();
  for (const delay of [0, 2, 10, 30, 60, 100, 150]) {
    const model = await load();
    const outcomes = startAll(model, undefined);
    await wait(delay);
    await model.dispose();
    t.same(binding.counters(), before, `nothing is left when dispose() ends, after ${delay} ms`);
    const codes = await outcomes;
    t.ok(
      codes.every((code) => ["DISPOSED", "done", "CONTEXT_OVERFLOW"].includes(code)),
      codes.join(),
    );
    t.ok(codes.includes("DISPOSED") || delay > 60, codes.join());
  }
});

t.test("leaving the loop before the prompt is encoded", async (t) => {
  const model = await load();
  const results = Array.from({ length: 4 }, () => model.chat(messages, { chatTemplate: slowTemplate }));
  await Promise.all(results.map((result) => result.return()));
  for (const result of results) t.match(await result, { finishReason: "abort", tokens: [] });
  t.equal(model.metrics().aborted, 4);
  await model.dispose();
});

t.test("a thread that dies fails its own tasks with WORKER_LOST; the next ones work", async (t) => {
  const model = await load();
  for (const delay of [0, 5, 40, 80]) {
    const outcomes = startAll(model, undefined);
    await wait(delay);
    await Promise.all(shortTaskThreads().map((thread) => thread.terminate()));
    const codes = await outcomes;
    t.ok(
      codes.every((code) => ["WORKER_LOST", "done", "CONTEXT_OVERFLOW"].includes(code)),
      codes.join(),
    );
    t.ok(codes.includes("WORKER_LOST"), codes.join());
    t.equal((await model.tokenizeBatch([longText])).length, 1);
  }
  await model.dispose();
});

interface Pending {
  result: PromiseLike<{ tokens: number[] }>;
  batch: Promise<Int32Array[]>;
}

async function chatAndForget(): Promise<Pending> {
  const model = await load();
  const options = { chatTemplate: slowTemplate, maxTokens: 3, ignoreEos: true };
  return { result: model.chat(messages, options), batch: model.tokenizeBatch([longText, longText]) };
}

/** The caller gets plain numbers only: a result, too, holds its model. */
async function countTokens(): Promise<[number, number]> {
  const { result, batch } = await chatAndForget();
  const timer = setInterval(collect, 20);
  const counts: [number, number] = [(await result).tokens.length, (await batch).length];
  clearInterval(timer);
  return counts;
}

t.test("a task keeps its model, and lets go of it", async (t) => {
  const before = binding.counters();
  t.same(await countTokens(), [3, 2]);
  for (let i = 0; i < 100 && binding.counters().engines > before.engines; i++) {
    collect();
    await wait(20);
  }
  t.same(binding.counters(), before);
});
