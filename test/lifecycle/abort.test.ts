// N3: abort before the start, in the queue, in the prompt, while decoding and after the end, at many random instants; and
// while loading.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { AbortedError, loadModel, type Model } from "../../dist/esm/index.js";
import { slowTinyModel } from "../support/models.js";

const instants = Number(process.env.LUTRA_TEST_ABORTS ?? 60);
const longPrompt = Array.from({ length: 900 }, (_, i) => 260 + (i % 200));
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function referenceText(model: Model): Promise<string> {
  return (await model.generate([270, 271, 272], { maxTokens: 12, ignoreEos: true, temperature: 0 })).text;
}

t.test("random instants: the rest is unharmed and every page comes back", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1, maxSequences: 2, contextSize: 2048 });
  const expected = await referenceText(model);
  const { pages } = model.metrics();
  let inPrompt = 0;
  for (let i = 0; i < instants; i++) {
    const controller = new AbortController();
    const result = model.generate(longPrompt, {
      maxTokens: 50,
      ignoreEos: true,
      temperature: 0,
      signal: controller.signal,
    });
    const neighbour = i % 10 === 0 ? referenceText(model) : undefined;
    await wait((i * 7) % 90);
    controller.abort(new Error("enough"));
    const outcome = await result.catch((error: unknown) => error);
    if (outcome instanceof AbortedError) {
      if (outcome.partial === "") inPrompt++;
      if ((outcome.cause as Error).message !== "enough") t.fail("the cause is not the signal's reason");
    } else if ((outcome as { finishReason: string }).finishReason !== "length")
      t.fail(`unexpected outcome ${String(outcome)}`);
    if (neighbour !== undefined && (await neighbour) !== expected) t.fail("a neighbour's text changed");
  }
  t.ok(inPrompt > 0, `${inPrompt} of ${instants} aborts came in the prompt`);
  t.equal(await referenceText(model), expected, "the same text as before");
  t.match(model.metrics(), { running: 0, queued: 0, freePages: pages });
  await model.dispose();
});

t.test("an abort in the prompt is seen within a layer", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1 });
  const controller = new AbortController();
  const result = model.generate(longPrompt, { signal: controller.signal });
  const rejected = t.rejects(result.then(), { code: "ABORTED" });
  await wait(15);
  const started = performance.now();
  controller.abort();
  await rejected;
  t.ok(performance.now() - started < 400, `${(performance.now() - started).toFixed(1)} ms`);
  await model.dispose();
});

t.test("aborted before the start, in the queue, and after the end", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1, maxSequences: 1 });
  await t.rejects(model.generate("a", { signal: AbortSignal.abort() }).then(), { code: "ABORTED" });
  const blocker = model.generate(longPrompt, { maxTokens: 40, ignoreEos: true });
  const controller = new AbortController();
  const queued = model.generate("b", { signal: controller.signal });
  const rejected = t.rejects(queued.then(), { code: "ABORTED" });
  controller.abort();
  await rejected;
  t.equal((await blocker).finishReason, "length");
  const late = new AbortController();
  const done = await model.generate("c", { maxTokens: 2, ignoreEos: true, signal: late.signal });
  late.abort();
  t.equal(done.finishReason, "length");
  await model.dispose();
});

t.test("leaving the loop stops the request; the result resolves with what there is", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1 });
  const result = model.generate("a", { maxTokens: 2000, ignoreEos: true });
  for await (const part of result) {
    if (part.tokens.length > 0) break;
  }
  t.match(await result, { finishReason: "abort" });
  t.equal(model.metrics().running, 0);
  await model.dispose();
});

t.test("a load can be aborted at any time, and its memory goes back", async (t) => {
  const path = slowTinyModel();
  const before = binding.counters();
  await t.rejects(loadModel(path, { signal: AbortSignal.abort() }), { code: "ABORTED" });
  let aborted = 0;
  for (const ms of [0, 5, 15, 30, 45, 60, 75, 90, 120]) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), ms);
    const outcome = await loadModel(path, { signal: controller.signal }).catch((error: unknown) => error);
    clearTimeout(timer);
    if (outcome instanceof AbortedError) aborted++;
    else if (outcome instanceof Error) t.fail(String(outcome));
    else await (outcome as Model).dispose();
  }
  t.ok(aborted > 0, `${aborted} of 9 loads were aborted`);
  t.same(binding.counters(), before);
});
