// loadModel(): its options, its errors, progress, and sharing.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";

t.test("wrong options are refused, with a suggestion", async (t) => {
  const cases: [unknown, RegExp][] = [
    [{ thread: 2 }, /"thread".*"threads"/],
    [{ threads: 0 }, /threads: expected an integer in \[1, 256\], got 0/],
    [{ contextSize: 1.5 }, /contextSize/],
    [{ maxSequences: 65 }, /maxSequences/],
    [{ isa: "sse9" }, /isa.*"sse9"/],
    [{ kvCacheType: "q2" }, /kvCacheType: expected "f16" or "q8_0", got "q2"/],
    [{ kvCacheType: "Q8_0" }, /kvCacheType/],
    [{ onLoadProgress: 1 }, /onLoadProgress/],
    [{ signal: {} }, /signal/],
    [[], /options/],
  ];
  for (const [options, message] of cases)
    await t.rejects(loadModel(tinyModel(), options as object), { code: "INVALID_OPTION", message });
  await t.rejects(loadModel(5 as unknown as string), { code: "INVALID_OPTION" });
});

t.test("a file that is not a model", async (t) => {
  const before = binding.counters();
  const path = `${t.testdir({ "no.gguf": "this is not a model file at all" })}/no.gguf`;
  await t.rejects(loadModel(path), { name: "ModelFileError", code: "GGUF_BAD_MAGIC" });
  await t.rejects(loadModel(`${path}.absent.gguf`), { name: "ModelFileError" });
  t.same(binding.counters(), before);
});

t.test("progress goes up to the total; models of one file share their weights", async (t) => {
  const path = tinyModel({ seed: 77 });
  const seen: number[] = [];
  const first = await loadModel(path, {
    onLoadProgress: ({ loadedBytes, totalBytes }) => void seen.push(loadedBytes / totalBytes),
  });
  t.ok(seen.length > 0 && seen.every((x, i) => x >= (seen[i - 1] ?? 0) && x <= 1));
  t.equal(seen.at(-1), 1);
  const { bytes } = binding.counters();
  const second = await loadModel(path);
  const { kvBytes, scratchBytes } = second.estimate();
  t.equal(binding.counters().bytes - bytes, kvBytes + scratchBytes, "only K/V and scratch are new");
  await first.dispose();
  t.equal((await second.generate("a", { maxTokens: 2, ignoreEos: true })).tokens.length, 2);
  await second.dispose();
});

t.test("isa and threads are what was asked, and the answer does not change", async (t) => {
  const texts = new Map<string, string[]>();
  for (const isa of binding.cpu().available) {
    for (const threads of [1, 2]) {
      const model = await loadModel(tinyModel(), { isa, threads });
      t.match(model.info, { isa, threads });
      const { tokens } = await model.generate("hello", { maxTokens: 20, ignoreEos: true, temperature: 0 });
      texts.set(isa, [...(texts.get(isa) ?? []), tokens.join()]);
      await model.dispose();
    }
  }
  for (const [isa, [one, two]] of texts) t.equal(one, two, isa);
});

t.test("models of ternary and 4-bit float weights name their types and generate", async (t) => {
  for (const type of ["TQ1_0", "TQ2_0", "MXFP4"] as const) {
    const path = tinyModel({ type });
    const { tensors } = binding.inspectFile(path);
    t.match(
      tensors.find(({ name }) => name === "token_embd.weight"),
      { type },
    );
    await using model = await loadModel(path);
    const { tokens } = await model.generate("hello", { maxTokens: 12, ignoreEos: true, temperature: 0 });
    t.equal(tokens.length, 12, type);
  }
});
