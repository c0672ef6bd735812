// generate(), chat(), tokenize() and perplexity() on tiny random models: shapes, bounds, errors, and one answer whatever the batch.
import t from "tap";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { tinyModel, tinyTemplate } from "../support/models.js";

const greedy = { temperature: 0, ignoreEos: true };
let model: Model;
t.before(async () => {
  model = await loadModel(tinyModel({ chatTemplate: tinyTemplate }), { maxSequences: 3, contextSize: 256 });
});
t.teardown(() => model.dispose());

t.test("the result is what its parts say", async (t) => {
  const result = model.generate("a b c", { ...greedy, maxTokens: 20 });
  const tokens: number[] = [];
  let text = "";
  for await (const part of result) {
    t.equal(part.type, "text");
    tokens.push(...part.tokens);
    text += part.text;
  }
  const whole = await result;
  t.same(whole.tokens, tokens);
  t.equal(whole.text, text);
  t.equal(whole.text, model.detokenize(whole.tokens));
  t.equal(whole.finishReason, "length");
  t.same(whole.usage, { promptTokens: model.tokenize("a b c").length, cachedTokens: 0, completionTokens: 20 });
  t.ok(whole.timings.promptMs > 0 && whole.timings.predictedPerSecond > 0 && whole.timings.loadMs > 0);
  t.same(whole.timings.approximations, []);
});

t.test("one answer, alone or in a crowd, and by prompt text or ids", async (t) => {
  const options = { maxTokens: 24, ignoreEos: true, temperature: 1.5, topK: 0, topP: 1, minP: 0, seed: 11 };
  const alone = await model.generate("hello world", options);
  const crowd = await Promise.all(
    Array.from({ length: 9 }, (_, i) =>
      model.generate(i % 3 === 0 ? "hello world" : `other ${"x".repeat(i * 9)}`, options),
    ),
  );
  for (const i of [0, 3, 6]) t.same(crowd[i]?.tokens, alone.tokens);
  t.same((await model.generate(model.tokenize("hello world"), options)).tokens, alone.tokens);
  t.notSame(
    (await model.generate("hello world", { ...options, seed: 12 })).tokens,
    alone.tokens,
    "another seed, another answer",
  );
});

t.test("the context's bounds", async (t) => {
  const error = await model.generate(Array.from({ length: 257 }, () => 5)).then(undefined, (reason: unknown) => reason);
  t.match(error, { code: "CONTEXT_OVERFLOW", message: /257.*256/ });
  const full = await model.generate(
    Array.from({ length: 256 }, () => 5),
    greedy,
  );
  t.match(full, { finishReason: "length", usage: { promptTokens: 256, completionTokens: 1 } });
  const room = await model.generate(
    Array.from({ length: 250 }, () => 5),
    greedy,
  );
  t.match(room, { finishReason: "length", usage: { completionTokens: 7 } });
});

t.test("stop strings and log-probabilities", async (t) => {
  const free = await model.generate("stop", { ...greedy, maxTokens: 30, logprobs: 3 });
  t.equal(free.logprobs?.length, free.tokens.length);
  for (const { logprob, top, token } of free.logprobs ?? []) {
    t.ok(logprob <= 0 && top.length === 3 && top[0]?.token === token);
  }
  const stop = free.text.slice(4, 7);
  const stopped = await model.generate("stop", { ...greedy, maxTokens: 30, stop });
  t.equal(stopped.finishReason, "stop");
  t.equal(stopped.text, free.text.slice(0, free.text.indexOf(stop)));
});

t.test("penalties and biases reach native code", async (t) => {
  const free = await model.generate("bias", { ...greedy, maxTokens: 10 });
  const banned = free.tokens[0] as number;
  const without = await model.generate("bias", {
    ...greedy,
    maxTokens: 10,
    logitBias: { [banned]: Number.NEGATIVE_INFINITY },
  });
  t.notOk(without.tokens.includes(banned));
  const forced = await model.generate("bias", { ...greedy, maxTokens: 3, logitBias: { 42: 1000 } });
  t.same(forced.tokens, [42, 42, 42]);
  const spread = await model.generate("bias", { ...greedy, maxTokens: 40, presencePenalty: 100, repeatLastN: -1 });
  t.equal(new Set(spread.tokens).size, 40, "every token once");
});

t.test("wrong requests come through the result, with the field's name", async (t) => {
  const cases: [unknown, unknown, string][] = [
    ["a", { temperature: "hot" }, "temperature"],
    ["a", { temprature: 1 }, "temperature"],
    ["a", "x", "options"],
    [5, {}, "prompt"],
    [[1, -1], {}, "prompt[1]"],
    [[1, 1e9], {}, "prompt[1]"],
    [[1.5], {}, "prompt[0]"],
    [[], {}, "prompt"],
  ];
  for (const [prompt, options, field] of cases) {
    const error = (await model
      .generate(prompt as string, options as object)
      .then(undefined, (reason: unknown) => reason)) as Error;
    t.match(error, { code: /INVALID_OPTION|INVALID_TOKEN/ }, `${field}: ${error.message}`);
    t.ok(error.message.includes(field), error.message);
  }
});

t.test("an iterator alone sees its error once, and nothing is unhandled", async (t) => {
  const unhandled: unknown[] = [];
  const listen = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", listen);
  const result = model.generate("a", { signal: AbortSignal.abort() });
  await t.rejects(result.next(), { code: "ABORTED" });
  t.same(await result.next(), { done: true, value: undefined });
  model.generate("a", { topP: 7 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", listen);
  t.same(unhandled, []);
});

t.test("tokenize and detokenize are synchronous and check their arguments", (t) => {
  t.equal(model.detokenize(model.tokenize("Grüße, 世界 🦦")), "Grüße, 世界 🦦");
  t.throws(() => model.detokenize([model.info.vocabSize]), { code: "INVALID_TOKEN" });
  t.throws(() => model.detokenize([-1]), { code: "INVALID_TOKEN" });
  t.throws(() => model.tokenize(5 as unknown as string), { code: "INVALID_OPTION" });
  t.end();
});

t.test("perplexity: windows of a text, ids as one sequence", async (t) => {
  const ids = Array.from({ length: 200 }, (_, i) => 5 + ((i * 31) % 250));
  const whole = await model.perplexity(ids);
  t.equal(whole.scored, 199);
  t.equal(whole.logprobs.length, 199);
  t.ok(Math.abs(whole.ppl - Math.exp(-whole.logprobs.reduce((sum, x) => sum + x, 0) / 199)) < 1e-9);
  const again = await model.perplexity(ids);
  t.same(again.logprobs, whole.logprobs, "the same bits");
  await t.rejects(model.perplexity(Array.from({ length: 300 }, () => 5)), { code: "CONTEXT_OVERFLOW" });
  const text = await model.perplexity("some text of a few words ".repeat(40), { contextSize: 64 });
  t.ok(text.tokens > 128 && text.scored < text.tokens && text.scored > text.tokens - text.tokens / 32);
  await t.rejects(model.perplexity("a", { contextSize: 1 }), { code: "INVALID_OPTION" });
  await t.rejects(model.perplexity(ids, { signal: AbortSignal.abort() }), { code: "ABORTED" });
});

t.test("generate and perplexity see the same bits", async (t) => {
  const { tokens, logprobs } = await model.generate([9, 8, 7], { ...greedy, maxTokens: 30, logprobs: true });
  const scored = await model.perplexity([9, 8, 7, ...tokens]);
  t.same(
    logprobs?.map(({ logprob }) => logprob),
    [...scored.logprobs.slice(2)],
  );
});

t.test("metrics, estimate and info", async (t) => {
  const metrics = model.metrics();
  t.match(metrics, { running: 0, queued: 0 });
  t.equal(metrics.freePages, metrics.pages);
  t.equal(metrics.requests, metrics.completed + metrics.aborted + metrics.failed);
  const { weightsBytes, kvBytes, scratchBytes, totalBytes } = model.estimate();
  t.ok(weightsBytes > 0 && kvBytes > 0 && scratchBytes > 0);
  t.equal(totalBytes, weightsBytes + kvBytes + scratchBytes);
  t.match(model.info, {
    architecture: "llama",
    contextSize: 256,
    contextLength: 512,
    maxSequences: 3,
    hasChatTemplate: true,
  });
});
