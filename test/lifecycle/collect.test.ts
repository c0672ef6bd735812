// N7: a model nobody holds is freed by the collector, and one with a running request is not.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

async function untilFreed(engines: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (binding.counters().engines === engines) return true;
  }
  return false;
}

async function useAndForget(): Promise<void> {
  const model = await loadModel(tinyModel());
  await model.generate("a", { maxTokens: 3, ignoreEos: true });
}

t.test("an unreferenced model is freed", async (t) => {
  const before = binding.counters();
  await useAndForget();
  await useAndForget();
  t.equal(binding.counters().engines, before.engines + 2);
  t.ok(await untilFreed(before.engines), "freed after collection");
  t.same(binding.counters(), before);
});

/** The caller gets the result only: the model itself is out of reach. */
async function startAndForget(): Promise<{ result: PromiseLike<{ tokens: number[] }> }> {
  const model = await loadModel(tinyModel());
  return { result: model.generate("a", { maxTokens: 300, ignoreEos: true }) };
}

t.test("a running request keeps its model", async (t) => {
  const { result } = await startAndForget();
  const timer = setInterval(collect, 5);
  t.equal((await result).tokens.length, 300);
  clearInterval(timer);
});

/** The same for embed(): many texts, one after the other. */
async function embedAndForget(): Promise<{ embedding: ReturnType<Model["embed"]> }> {
  const model = await loadModel(tinyModel(), { maxSequences: 1 });
  return { embedding: model.embed(Array.from({ length: 300 }, (_, i) => `text ${i}`)) };
}

t.test("running embeddings keep their model", async (t) => {
  const { embedding } = await embedAndForget();
  const timer = setInterval(collect, 5);
  t.equal((await embedding).vectors.length, 300);
  clearInterval(timer);
});
