// N6: callbacks that throw anything, or never settle: the request (or the load) fails with the thrown value as its cause,
// and the engine goes on.
import t from "tap";
import { CallbackError, loadModel } from "../../dist/esm/index.js";
import { binding } from "../../dist/esm/binding/index.js";
import { tinyModel } from "../support/models.js";

const thrownValues: unknown[] = [
  null,
  undefined,
  "text",
  0,
  new Proxy({}, {}),
  new Error("on purpose"),
  Object.create(null),
];

t.test("onPromptProgress", async (t) => {
  const model = await loadModel(tinyModel());
  for (const value of thrownValues) {
    const onPromptProgress = (): never => {
      throw value;
    };
    const error = await model
      .generate("a b", { maxTokens: 4, ignoreEos: true, onPromptProgress })
      .then(undefined, (reason: unknown) => reason);
    t.ok(error instanceof CallbackError);
    t.equal((error as Error).cause, value);
  }
  const never = (): Promise<never> => new Promise(() => {});
  const done = await model.generate("a b", { maxTokens: 4, ignoreEos: true, onPromptProgress: never });
  t.equal(done.tokens.length, 4);
  await model.dispose();
});

t.test("onLoadProgress", async (t) => {
  const before = binding.counters();
  for (const value of thrownValues) {
    const onLoadProgress = (): never => {
      throw value;
    };
    await t.rejects(loadModel(tinyModel(), { onLoadProgress }), { code: "CALLBACK_FAILED" });
  }
  t.same(binding.counters(), before);
});

t.test("a native callback that throws stops the load with what it threw", (t) => {
  const before = binding.counters();
  for (const value of thrownValues) {
    let caught: unknown = "nothing";
    try {
      binding.modelAcquire(tinyModel(), 1, new Int32Array(1), () => {
        throw value;
      });
    } catch (error) {
      caught = error;
    }
    t.not(caught, "nothing");
  }
  t.same(binding.counters(), before);
  t.end();
});

t.test("a reader that throws in its loop ends its own request only", async (t) => {
  const model = await loadModel(tinyModel());
  const read = async (): Promise<void> => {
    for await (const _ of model.generate("a", { maxTokens: 200, ignoreEos: true })) throw new Error("reader");
  };
  await t.rejects(read(), { message: "reader" });
  t.equal((await model.generate("a", { maxTokens: 3, ignoreEos: true })).tokens.length, 3);
  t.equal(model.metrics().aborted, 1);
  await model.dispose();
});
