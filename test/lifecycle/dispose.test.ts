// N2: dispose while generating, queued, loading, inside a callback, and twice.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { slowTinyModel, tinyModel } from "../support/models.js";

const forever = { maxTokens: 400, ignoreEos: true, temperature: 0 };

t.test("dispose while generating rejects pending results and iterators with DISPOSED", async (t) => {
  const before = binding.counters();
  const model = await loadModel(slowTinyModel(), { threads: 1, maxSequences: 2 });
  const results = Array.from({ length: 6 }, () => model.generate("a b c", forever));
  const iterated = model.generate("d", forever);
  const iteration = (async () => {
    for await (const _ of iterated);
  })();
  const settled = Promise.allSettled([...results, iteration]);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const started = performance.now();
  await model.dispose();
  t.ok(performance.now() - started < 2000, "dispose waits for a layer, not for the answer");
  for (const each of await settled) {
    t.equal(each.status === "rejected" ? (each.reason as { code: string }).code : each.status, "DISPOSED");
  }
  t.same(binding.counters(), before, "every native object is gone");
});

t.test("a disposed model refuses everything, and disposes again without effect", async (t) => {
  const model = await loadModel(tinyModel());
  await Promise.all([model.dispose(), model.dispose()]);
  await model.dispose();
  await t.rejects(model.generate("a").then(), { code: "DISPOSED" });
  await t.rejects(model.perplexity("a b c"), { code: "DISPOSED" });
  t.throws(() => model.tokenize("a"), { code: "DISPOSED" });
  t.throws(() => model.detokenize([1]), { code: "DISPOSED" });
});

t.test("dispose inside the prompt callback, and between two parts", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1 });
  let disposed: Promise<void> | undefined;
  const prompt = Array.from({ length: 1500 }, (_, i) => 260 + (i % 200));
  const onPromptProgress = (): void => {
    disposed ??= model.dispose();
  };
  const result = model.generate(prompt, { ...forever, onPromptProgress });
  await t.rejects(result.then(), { code: "DISPOSED" });
  await disposed;
  const second = await loadModel(tinyModel());
  const run = async (): Promise<void> => {
    for await (const _ of second.generate("a", forever)) await second.dispose();
  };
  await t.rejects(run(), { code: "DISPOSED" });
});

t.test("await using disposes", async (t) => {
  const before = binding.counters();
  const model = await loadModel(tinyModel());
  await model[Symbol.asyncDispose]();
  t.same(binding.counters(), before);
});
