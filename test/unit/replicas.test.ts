// replicas: one model as several engines on one copy of its weights: the same bits from each, requests spread over them.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { Replicas } from "../../dist/esm/engine/replicas.js";
import { limits } from "../../dist/esm/limits.js";
import { resolveSampling } from "../../dist/esm/sampling/index.js";
import { createError } from "../../dist/esm/errors.js";
import { header } from "../../dist/esm/worker/index.js";
import { checkLoopDelay } from "../support/loop-delay.js";
import { modelPath, slowTinyModel, tinyModel, tinyTemplate } from "../support/models.js";

const exact = { temperature: 0, ignoreEos: true, logprobs: 3 };

t.test("info, estimate, metrics and native objects", async (t) => {
  const before = binding.counters();
  const one = await loadModel(tinyModel(), { threads: 1, contextSize: 128, maxSequences: 2 });
  const three = await loadModel(tinyModel(), { threads: 1, contextSize: 128, maxSequences: 2, replicas: 3 });
  t.match(one.info, { replicas: 1, threads: 1, maxSequences: 2 });
  t.match(three.info, { replicas: 3, threads: 1, maxSequences: 2 });
  const [single, triple] = [one.estimate(), three.estimate()];
  t.equal(triple.weightsBytes, single.weightsBytes);
  t.equal(triple.kvBytes, 3 * single.kvBytes);
  t.equal(triple.scratchBytes, 3 * single.scratchBytes);
  t.equal(triple.totalBytes, triple.weightsBytes + triple.kvBytes + triple.scratchBytes);
  t.equal(three.metrics().pages, 3 * one.metrics().pages);
  t.equal(three.metrics().freePages, three.metrics().pages);
  t.equal(binding.counters().engines, before.engines + 4);
  await Promise.all([one.dispose(), three.dispose()]);
  t.same(binding.counters(), before, "nothing native is left");
});

t.test("the default threads are divided, and wrong counts refused", async (t) => {
  const { threads } = binding.cpu();
  for (const replicas of [1, 2, 5]) {
    const model = await loadModel(tinyModel(), { replicas, contextSize: 64, maxSequences: 1 });
    t.equal(model.info.threads, Math.max(1, Math.floor(threads / replicas)));
    await model.dispose();
  }
  for (const replicas of [0, -1, 1.5, "2", limits.maxReplicas + 1, Number.NaN])
    await t.rejects(loadModel(tinyModel(), { replicas: replicas as number }), {
      code: "INVALID_OPTION",
      message: /^replicas: expected an integer in \[1, /,
    });
});

t.test("bit-identical answers, whichever engine gives them", async (t) => {
  const path = tinyModel({ chatTemplate: tinyTemplate });
  const alone = await loadModel(path, { threads: 1, contextSize: 128 });
  const expected = await alone.generate("hello otter", { ...exact, maxTokens: 24 });
  await alone.dispose();
  const model = await loadModel(path, { threads: 1, contextSize: 128, replicas: 3, maxSequences: 1 });
  const results = await Promise.all(
    Array.from({ length: 9 }, () => model.generate("hello otter", { ...exact, maxTokens: 24 })),
  );
  for (const { tokens, logprobs } of results)
    t.same({ tokens, logprobs }, { tokens: expected.tokens, logprobs: expected.logprobs });
  await model.dispose();
});

t.test("requests go to the engine with the fewest", async (t) => {
  const model = await loadModel(slowTinyModel(), { threads: 1, replicas: 2, maxSequences: 2, contextSize: 1024 });
  const results = Array.from({ length: 4 }, () => model.generate([5, 6, 7], { ...exact, maxTokens: 400 }));
  const all = Promise.all(results);
  for (let i = 0; i < 200 && model.metrics().running < 4; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  t.match(model.metrics(), { running: 4, queued: 0 }, "two run on each");
  await all;
  await model.dispose();
});

t.test("requests of one affinity, or one namespace, stay on one engine", async (t) => {
  const { isa } = binding.cpu();
  const task = {
    path: slowTinyModel(),
    threads: 1,
    isa,
    kvCacheType: "f16" as const,
    replicas: 2,
    matmul: { type: "dot" as const },
    attention: undefined,
    ffnSparsity: undefined,
    speculation: undefined,
  };
  const start = {
    task: { ...task, contextSize: 512, maxSequences: 1, kvCacheTokens: 0 },
    onLoadProgress: undefined,
    signal: undefined,
  };
  const engines = await Replicas.start(start);
  const params = resolveSampling({ maxTokens: 300, ignoreEos: true }, { vocabSize: 512, alsoKnown: [] });
  const request = { type: "generate" as const, params, reportProgress: false };
  const prompt = { kind: "tokens" as const, tokens: Int32Array.of(5, 6, 7) };
  const run = async (affinity: number, namespace: number): Promise<[running: number, queued: number]> => {
    const handles: { abort: () => void }[] = [];
    const ends = Array.from({ length: 3 }, () => {
      return new Promise<void>((resolve) => {
        const onMessage = ({ type }: { type: string }): void => void (type === "generated" && resolve());
        const sink = { onMessage, onFailure: () => resolve() };
        const given = { ...request, prompt, place: { priority: 0, cached: true, namespace } };
        handles.push(affinity === 0 ? engines.submit(given, sink) : engines.submit(given, sink, affinity));
      });
    });
    const busy = (): number => engines.count(header.running) + engines.count(header.queued);
    for (let i = 0; i < 200 && busy() < 3; i++) await new Promise((resolve) => setTimeout(resolve, 2));
    const counts: [number, number] = [engines.count(header.running), engines.count(header.queued)];
    for (const handle of handles) handle.abort();
    await Promise.all(ends);
    return counts;
  };
  t.same(await run(0, 0), [2, 1], "spread");
  t.same(await run(2, 0), [1, 2], "one affinity");
  t.same(await run(0, 7), [1, 2], "one namespace");
  await engines.stop(createError("DISPOSED", "done"));
});

t.test("200 requests at once on two engines", async (t) => {
  const model = await loadModel(tinyModel(), { threads: 1, replicas: 2, maxSequences: 4, contextSize: 256 });
  const prompts = Array.from({ length: 200 }, (_, i) => `otter ${i % 10} ${"sea ".repeat(i % 23)}`);
  const expected = new Map<string, number[]>();
  for (const prompt of new Set(prompts))
    expected.set(prompt, (await model.generate(prompt, { ...exact, maxTokens: 30 })).tokens);
  const results = await checkLoopDelay(t, 20, () =>
    Promise.all(prompts.map((prompt) => model.generate(prompt, { ...exact, maxTokens: 30 }))),
  );
  t.equal(
    results.findIndex(({ tokens }, i) => tokens.join() !== expected.get(prompts[i] as string)?.join()),
    -1,
  );
  t.match(model.metrics(), { running: 0, queued: 0, failed: 0, freePages: model.metrics().pages });
  await model.dispose();
});

t.test("a load that fails or is aborted leaves nothing", async (t) => {
  const before = binding.counters();
  for (const ms of [0, 20, 60, 100, 140]) {
    const signal = AbortSignal.timeout(ms);
    const outcome = await loadModel(slowTinyModel(), { replicas: 4, signal }).catch((error: { code: string }) => error);
    if ("code" in outcome) t.equal(outcome.code, "ABORTED");
    else await outcome.dispose();
  }
  t.same(binding.counters(), before);
});

t.test("real weights are in memory once", async (t) => {
  const path = await modelPath("smollm2-135m-instruct");
  const options = { threads: 1, contextSize: 64, maxSequences: 1 };
  const measure = async (replicas: number): Promise<{ bytes: number; weights: number }> => {
    const model: Model = await loadModel(path, { ...options, replicas });
    await Promise.all(Array.from({ length: replicas }, () => model.generate("Otters", { maxTokens: 4 })));
    const bytes = process.memoryUsage.rss();
    const weights = model.estimate().weightsBytes;
    await model.dispose();
    return { bytes, weights };
  };
  const one = await measure(1);
  const two = await measure(2);
  const growth = two.bytes - one.bytes;
  // The engine itself takes some 46 MiB beside the weights (scratch, K/V, the thread's heap): with a copy it would be 138.
  t.ok(growth < one.weights, `a second engine took ${growth >> 20} MiB; the weights are ${one.weights >> 20} MiB`);
});
