// embed(): pooling and normalising, one answer whatever the batch, waves, errors, aborts, and the neighbours of it all.
import t from "tap";
import { type EmbedInput, type EmbedOptions, loadModel, type Model } from "../../dist/esm/index.js";
import { limits } from "../../dist/esm/limits.js";
import { value } from "../support/gguf-builder.js";
import { slowTinyModel, tinyModel } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";

const contextSize = 384;
const path = tinyModel({ type: "Q4_0" });
/** Of 1 to 300 tokens: some within a step's chunk of a prompt, some beyond it. */
const texts = Array.from({ length: 11 }, (_, i) => `${i} words of `.repeat(1 + i * i * (i % 2)).slice(0, 300));
const ids = (n: number, first = 0): number[] => Array.from({ length: n }, (_, i) => 3 + ((first + i * 31) % 250));

let model: Model;
t.before(async () => {
  model = await loadModel(path, { maxSequences: 3, contextSize, threads: 2 });
});
t.teardown(() => model.dispose());

const vectorOf = async (text: EmbedInput, options?: EmbedOptions): Promise<Float32Array> =>
  (await model.embed(text, options)).vectors[0] as Float32Array;
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const norm = (vector: Float32Array): number => Math.hypot(...vector);

/** Every page is free again, and nothing runs or waits. */
function isIdle(model: Model): boolean {
  const { running, queued, freePages, pages } = model.metrics();
  return running === 0 && queued === 0 && freePages === pages;
}

t.test("mean, last and cls are what they say of the hidden states", async (t) => {
  const session = new NativeSession(path);
  for (const text of [ids(1), ids(40), ids(300)]) {
    session.reset();
    const states = session.hiddenStates(text, 512);
    const sum = new Float64Array(model.info.dim);
    for (const state of states) for (const [i, x] of state.entries()) sum[i] = (sum[i] as number) + x;
    const expected = {
      mean: Float32Array.from(sum, (x) => x / states.length),
      cls: states[0] as Float32Array,
      last: states.at(-1) as Float32Array,
    };
    for (const [pooling, raw] of Object.entries(expected) as ["mean" | "cls" | "last", Float32Array][]) {
      const message = `${pooling} of ${text.length} tokens`;
      t.same(await vectorOf(text, { pooling, normalize: false }), raw, message);
      const unit = await vectorOf(text, { pooling });
      t.ok(Math.abs(norm(unit) - 1) < 1e-6, `${message}: length ${norm(unit)}`);
      const length = norm(raw);
      t.ok(
        unit.every((x, i) => Math.abs(x - (raw[i] as number) / length) < 1e-6),
        `${message}: the same direction`,
      );
    }
  }
  session.dispose();
});

t.test("the shape of the result", async (t) => {
  const one = await model.embed("a text");
  t.same(Object.keys(one), ["vectors", "usage"]);
  t.equal(one.vectors.length, 1, "one text gives a list of one");
  t.equal(one.vectors[0]?.length, model.info.dim);
  t.same(one.usage, { promptTokens: model.tokenize("a text").length });
  const tokens = model.tokenize("a text");
  for (const same of [["a text"], tokens, [tokens], Int32Array.from(tokens), [Int32Array.from(tokens)]]) {
    t.same(await model.embed(same), one, "text, ids, list of either");
  }
  const many = await model.embed(texts);
  t.equal(many.vectors.length, texts.length);
  t.equal(
    many.usage.promptTokens,
    texts.reduce((sum, text) => sum + model.tokenize(text).length, 0),
  );
  t.same(await vectorOf("a text"), await vectorOf("a text", { pooling: "mean", normalize: true }), "the defaults");
});

t.test("the same bits alone, in a batch, beside streams, on any threads", async (t) => {
  for (const pooling of ["mean", "last", "cls"] as const) {
    const alone: Float32Array[] = [];
    for (const text of texts) alone.push(await vectorOf(text, { pooling }));
    t.same((await model.embed(texts, { pooling })).vectors, alone, `${pooling}: a batch`);
    const reversed = await model.embed([...texts].reverse(), { pooling });
    t.same(reversed.vectors.reverse(), alone, `${pooling}: another order`);
    const stream = model.generate("a neighbour", { maxTokens: 200, ignoreEos: true, temperature: 0 });
    t.same((await model.embed(texts, { pooling })).vectors, alone, `${pooling}: beside a stream`);
    await stream;
    for (const [threads, maxSequences] of [
      [1, 1],
      [2, 8],
    ]) {
      const other = await loadModel(path, { maxSequences, contextSize, threads });
      t.same((await other.embed(texts, { pooling })).vectors, alone, `${pooling}: ${threads} threads`);
      await other.dispose();
    }
  }
  t.ok(isIdle(model));
});

t.test("neighbours that generate get the tokens they get alone", async (t) => {
  const options = { maxTokens: 60, ignoreEos: true, temperature: 1.2, topK: 0, seed: 5 };
  const greedy = { maxTokens: 60, ignoreEos: true, temperature: 0 };
  const prompt = ids(70, 9);
  const alone = await model.generate(prompt, options);
  const aloneGreedy = await model.generate(prompt, greedy);
  const long = Array.from({ length: 30 }, (_, i) => ids(200, i));
  const embedding = model.embed(long);
  const [first, second] = await Promise.all([model.generate(prompt, options), model.generate(prompt, greedy)]);
  t.same(first.tokens, alone.tokens);
  t.same(second.tokens, aloneGreedy.tokens);
  t.equal((await embedding).vectors.length, 30);
});

t.test("more texts than the queue takes", async (t) => {
  const many = Array.from({ length: limits.maxQueuedRequests * 2 }, (_, i) => ids(1 + (i % 3), i));
  const { vectors, usage } = await model.embed(many);
  t.equal(vectors.length, many.length);
  t.equal(
    usage.promptTokens,
    many.reduce((sum, { length }) => sum + length, 0),
  );
  t.same(vectors[many.length - 1], await vectorOf(many.at(-1) as number[]));
  t.ok(isIdle(model));
});

/** Streams that nobody reads: they pause, and hold their places until they are awaited; then a queue with `left` places. */
function fillQueue(left: number): PromiseLike<unknown>[] {
  const request = (maxTokens: number) => (_: unknown, i: number) =>
    model.generate(ids(4, i), { maxTokens, ignoreEos: true });
  const running = Array.from({ length: model.info.maxSequences }, request(350));
  return [...running, ...Array.from({ length: limits.maxQueuedRequests - left }, request(1))];
}

t.test("a queue that others fill", async (t) => {
  const many = Array.from({ length: 20 }, (_, i) => ids(5, i));
  const { vectors } = await model.embed(many);
  const others = fillQueue(1);
  const embedding = model.embed(many);
  embedding.catch(() => {});
  await wait(100);
  t.equal(model.metrics().queued, limits.maxQueuedRequests);
  await Promise.all(others);
  t.same((await embedding).vectors, vectors, "one place is enough");
  const full = fillQueue(0);
  await t.rejects(model.embed(many), { name: "QueueFullError", code: "QUEUE_FULL" }, "none is not");
  await Promise.all(full);
  t.ok(isIdle(model));
});

t.test("what the file names is the default", async (t) => {
  const named: [number, string][] = [
    [0, "mean"],
    [1, "mean"],
    [2, "cls"],
    [3, "last"],
    [4, "mean"],
    [99, "mean"],
  ];
  for (const [type, pooling] of named) {
    const other = await loadModel(tinyModel({ metadata: [["llama.pooling_type", value.u32(type)]] }), { threads: 1 });
    t.equal(other.info.pooling, pooling, `pooling_type ${type}`);
    t.same(await other.embed("a b c"), await other.embed("a b c", { pooling: other.info.pooling }));
    t.notSame(await other.embed("a b c"), await other.embed("a b c", { pooling: pooling === "last" ? "cls" : "last" }));
    await other.dispose();
  }
  const wrong = tinyModel({ metadata: [["llama.pooling_type", value.string("mean")]] });
  await t.rejects(loadModel(wrong), { code: "MODEL_BAD_METADATA", message: /llama\.pooling_type/ });
});

const throwing = new Proxy([], {
  get() {
    throw new Error("trap");
  },
});

t.test("wrong arguments are refused by name, before anything runs", async (t) => {
  const { steps } = model.metrics();
  const cases: [unknown, unknown, string][] = [
    [undefined, {}, "texts: expected a string, an array of token ids, or an array of these, got undefined"],
    [5, {}, "texts: expected a string, an array of token ids, or an array of these, got 5"],
    [{}, {}, "texts: expected a string, "],
    [throwing, {}, "texts: expected a string, "],
    ["", {}, 'texts: expected a text that is not empty, got ""'],
    [[], {}, "texts: expected at least one text, got an array of 0"],
    [new Int32Array(0), {}, "texts: expected at least one text"],
    [["a", ""], {}, 'texts[1]: expected a text that is not empty, got ""'],
    [["a", []], {}, "texts[1]: expected a text that is not empty, got an array of 0"],
    [["a", null], {}, "texts[1]: expected a string or an array of token ids, got null"],
    [["a", 5], {}, "texts[1]: expected a string or an array of token ids, got 5"],
    [["a", [5, -1]], {}, "texts[1][1]: expected a token id in [0, 319], got -1"],
    [[5, "a"], {}, "texts[1]: expected a token id in [0, 319], got string"],
    [[5, 1e9], {}, "texts[1]: expected a token id in [0, 319], got 1000000000"],
    [new Array(2 ** 32 - 1), {}, "texts: expected at most "],
    [new Array(limits.maxEmbedTexts + 1).fill("a"), {}, `texts: expected at most ${limits.maxEmbedTexts} texts`],
    ["a", { pooling: "max" }, 'pooling: expected "mean", "cls" or "last", got "max"'],
    ["a", { pooling: null }, "pooling: expected "],
    ["a", { normalize: 1 }, "normalize: expected true or false, got 1"],
    ["a", { signal: {} }, "signal: expected an AbortSignal"],
    ["a", { normalise: true }, '"normalise" is not an option; did you mean "normalize"?'],
    ["a", "mean", "options: expected an object"],
  ];
  for (const [input, options, message] of cases) {
    const error = await model.embed(input as string, options as EmbedOptions).catch((reason: unknown) => reason);
    t.match(error, { name: "InvalidOptionError", code: /^INVALID_(OPTION|TOKEN)$/ }, message);
    t.ok((error as Error).message.startsWith(message), (error as Error).message);
  }
  t.equal(model.metrics().steps, steps);
});

t.test("a text that does not fit ends the call and names itself", async (t) => {
  const long = ids(contextSize + 1);
  const list = [ids(contextSize), "b", "c", "d", "e", "f", "g", long, ...texts];
  for (const pooling of ["mean", "last", "cls"] as const) {
    await t.rejects(model.embed(list, { pooling }), {
      name: "ContextOverflowError",
      code: "CONTEXT_OVERFLOW",
      message: /^texts\[7\]: .*385 tokens.* 384/,
    });
    t.ok(isIdle(model), "nothing of the call is left");
  }
  await t.rejects(model.embed(long), { code: "CONTEXT_OVERFLOW", message: /^texts: .*385.* 384/ });
  await t.rejects(model.embed("x".repeat(50_000)), { code: "CONTEXT_OVERFLOW", message: /^texts: / });
  t.equal((await vectorOf(ids(contextSize))).length, model.info.dim, "one that just fits");
});

t.test("aborted before it starts, at many instants, and after its end", async (t) => {
  const slow = await loadModel(slowTinyModel(), { threads: 1, maxSequences: 2, contextSize: 2048 });
  const list = Array.from({ length: 6 }, (_, i) => ids(400 + 60 * i, i));
  const expected = await slow.embed(list);
  const reason = new Error("enough");
  await t.rejects(slow.embed(list, { signal: AbortSignal.abort(reason) }), { code: "ABORTED", cause: reason });
  let aborted = 0;
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const call = slow.embed(list, { signal: controller.signal }).catch((error: unknown) => error);
    await wait(7 * i);
    controller.abort(reason);
    const outcome = await call;
    if (outcome instanceof Error) {
      aborted++;
      t.match(outcome, { name: "AbortedError", code: "ABORTED", cause: reason });
    } else t.same(outcome, expected);
    t.ok(isIdle(slow), "every page is free once the call has settled");
  }
  t.ok(aborted > 10, `${aborted} of 20 were aborted`);
  const late = new AbortController();
  t.same(await slow.embed(list, { signal: late.signal }), expected);
  late.abort();
  const disposed = t.rejects(slow.embed(list), { code: "DISPOSED" });
  await slow.dispose();
  await disposed;
  await t.rejects(slow.embed("a"), { code: "DISPOSED" });
});
