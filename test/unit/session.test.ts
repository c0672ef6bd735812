// model.session() on a tiny model: what its history holds after every way a request can end, one call at a time, and files
// that go on where they stopped or are refused without harm.
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { AbortedError, type LoadOptions, loadModel, type Model, SessionFileError } from "../../dist/esm/index.js";
import { slowTinyModel, tinyModel } from "../support/models.js";
import { at, forge, headerBytes } from "../support/session-images.js";

const greedy = { temperature: 0, ignoreEos: true };
const load = (t: Test, path: string, options: LoadOptions = {}): Promise<Model> =>
  loadModel(path, { contextSize: 256, maxSequences: 2, ...options }).then((model) => {
    t.teardown(() => model.dispose());
    return model;
  });

t.test("each request goes on where the last one ended", async (t) => {
  const model = await load(t, tinyModel({ tokenizer: "spm" }));
  const session = model.session();
  t.same(session.tokens, new Int32Array(0));
  const first = await session.generate("a b c", { ...greedy, maxTokens: 9 });
  const prompt = model.tokenize("a b c");
  t.equal(prompt[0], model.info.bos, "the vocabulary asks for a first token");
  t.same([...session.tokens], [...prompt, ...first.tokens]);
  t.same(first.tokens, (await model.generate("a b c", { ...greedy, maxTokens: 9 })).tokens, "as the model alone");

  const more = model.tokenize(" d e", { addSpecial: false });
  const history = [...session.tokens, ...more];
  const options = { temperature: 1, seed: 5, maxTokens: 7, ignoreEos: true };
  const second = await session.generate(" d e", options);
  t.same(second.tokens, (await model.generate(history, options)).tokens);
  t.same([...session.tokens], [...history, ...second.tokens]);
  t.equal(second.usage.promptTokens, history.length);

  const third = await session.generate([7, 8], { ...greedy, maxTokens: 1 });
  t.same([...session.tokens].slice(-3), [7, 8, ...third.tokens]);
  session.tokens.fill(0);
  t.not(session.tokens.at(-2), 0, "its tokens are a copy");
  const fork = model.session({ tokens: session.tokens });
  t.same((await fork.generate("x", greedy)).tokens, (await session.generate("x", greedy)).tokens);
});

t.test("a part of an answer is streamed, and a stop string ends it", async (t) => {
  const model = await load(t, tinyModel());
  const session = model.session();
  const result = session.generate("hello", { ...greedy, maxTokens: 12 });
  const tokens: number[] = [];
  for await (const part of result) tokens.push(...part.tokens);
  t.same([...session.tokens], [...model.tokenize("hello"), ...tokens]);
  t.same((await result).tokens, tokens);
});

t.test("one call at a time", async (t) => {
  const model = await load(t, slowTinyModel(), { contextSize: 2048 });
  const session = model.session();
  const file = join(t.testdir({}), "a.session");
  const running = session.generate("a b c", { ...greedy, maxTokens: 40 });
  await t.rejects(session.generate("d", greedy).then(), {
    name: "SessionBusyError",
    code: "SESSION_BUSY",
    status: 409,
  });
  await t.rejects(session.save(file), { code: "SESSION_BUSY", message: /generate\(\) has not ended/ });
  const { tokens } = await running;
  t.equal(tokens.length, 40);
  t.equal(session.tokens.length, model.tokenize("a b c").length + 40, "the refused calls changed nothing");
  const saving = session.save(file);
  await t.rejects(session.generate("d", greedy).then(), { code: "SESSION_BUSY", message: /save\(\)/ });
  await t.rejects(session.save(file), { code: "SESSION_BUSY" });
  await saving;
  await session.generate("d", { ...greedy, maxTokens: 1 });

  const sneaky = model.session();
  let inner: unknown;
  const options = {
    get maxTokens() {
      inner ??= sneaky.generate("x", { maxTokens: 1 });
      return 1;
    },
  };
  await t.rejects(sneaky.generate("y", options).then(), { code: "SESSION_BUSY" });
  await inner;
});

t.test("what a failed or aborted request leaves", async (t) => {
  const model = await load(t, slowTinyModel(), { contextSize: 1024 });
  const session = model.session({ tokens: [1, 2, 3] });
  const unchanged = (why: string): void => void t.same([...session.tokens], [1, 2, 3], why);
  await t.rejects(session.generate("x", { signal: AbortSignal.abort() }).then(), { code: "ABORTED" });
  unchanged("aborted before it started");
  await t.rejects(session.generate("x", { topK: -1 }).then(), { code: "INVALID_OPTION" });
  await t.rejects(session.generate([1, 99999]).then(), { code: "INVALID_TOKEN" });
  await t.rejects(session.generate(7 as never).then(), { code: "INVALID_OPTION" });
  unchanged("wrong arguments");
  await t.rejects(session.generate(Array.from({ length: 1024 }, () => 5)).then(), { code: "CONTEXT_OVERFLOW" });
  unchanged("a prompt too long");
  const onPromptProgress = (): void => {
    throw new Error("mine");
  };
  const long = Array.from({ length: 900 }, (_, i) => i % 64);
  await t.rejects(session.generate(long, { onPromptProgress }).then(), { code: "CALLBACK_FAILED" });
  unchanged("a callback that threw before the first token");
  const early = new AbortController();
  const waiting = session.generate(long, { signal: early.signal }).then();
  early.abort();
  await t.rejects(waiting, { code: "ABORTED" });
  unchanged("aborted in its prompt");

  const late = new AbortController();
  const aborted = session.generate([4, 5], { ...greedy, signal: late.signal });
  const seen: number[] = [];
  let error: unknown;
  try {
    for await (const part of aborted) {
      seen.push(...part.tokens);
      if (seen.length > 5) late.abort();
    }
  } catch (thrown) {
    error = thrown;
  }
  t.ok(error instanceof AbortedError);
  const after = [...session.tokens];
  t.same(after.slice(0, 5), [1, 2, 3, 4, 5], "aborted in its answer: the prompt");
  t.same(after.slice(5, 5 + seen.length), seen, "and what was generated");
  t.ok(after.length > 10);

  const left = session.generate([6], greedy);
  for await (const part of left) if (part.tokens.length > 0) break;
  t.same([...session.tokens], [...after, 6, ...(await left).tokens], "left early");
  const expected = await model.generate([...session.tokens, 9], { ...greedy, maxTokens: 8 });
  t.same((await session.generate([9], { ...greedy, maxTokens: 8 })).tokens, expected.tokens, "it goes on from there");
});

t.test("an answer that is nothing but its end keeps the prompt", async (t) => {
  const model = await load(t, tinyModel());
  const session = model.session();
  const { tokens, finishReason } = await session.generate("a", {
    temperature: 0,
    logitBias: { [model.info.eos]: 1000 },
  });
  t.same(tokens, []);
  t.equal(finishReason, "stop");
  t.same([...session.tokens], model.tokenize("a"));
});

t.test("saved and loaded, it continues identically", async (t) => {
  for (const kvCacheType of ["f16", "q8_0"] as const) {
    const model = await load(t, tinyModel({ architecture: "gemma3", slidingWindow: 48 }), { kvCacheType });
    const file = join(t.testdir({}), "a.session");
    const session = model.session();
    await session.generate("once upon a time", { ...greedy, maxTokens: 150 });
    await session.save(file);
    await session.save(file);
    const loaded = await model.loadSession(file);
    const twin = await model.loadSession(file);
    t.same(loaded.tokens, session.tokens);
    const wanted = await session.generate(" and", { ...greedy, maxTokens: 40 });
    t.same((await loaded.generate(" and", { ...greedy, maxTokens: 40 })).tokens, wanted.tokens, kvCacheType);
    await loaded.save(file);
    const seeded = { seed: 3, maxTokens: 20, ignoreEos: true };
    const again = await (await model.loadSession(file)).generate(" so", seeded);
    t.same(again.tokens, (await session.generate(" so", seeded)).tokens, "and once more");
    t.same((await twin.generate(" and", { ...greedy, maxTokens: 40 })).tokens, wanted.tokens, "a file serves many");
  }
});

t.test("histories of every small length", async (t) => {
  const model = await load(t, tinyModel());
  const file = join(t.testdir({}), "a.session");
  for (const length of [0, 1, 2, 31, 32, 33, 63, 64, 65]) {
    const session = model.session({ tokens: Array.from({ length }, (_, i) => (i * 5) % 64) });
    await session.save(file);
    const loaded = await model.loadSession(file);
    t.same(loaded.tokens, session.tokens);
    const wanted = await session.generate([1], { ...greedy, maxTokens: 5 });
    t.same((await loaded.generate([1], { ...greedy, maxTokens: 5 })).tokens, wanted.tokens, `${length} tokens`);
  }
  const full = model.session({ tokens: Array.from({ length: 250 }, () => 5) });
  const { finishReason } = await full.generate([6], greedy);
  t.equal(finishReason, "length");
  t.equal(full.tokens.length, 257, "the last token of a full context never runs");
  await full.save(file);
  const loaded = await model.loadSession(file);
  t.same(loaded.tokens, full.tokens);
  await t.rejects(loaded.generate([1]).then(), { code: "CONTEXT_OVERFLOW" });
});

t.test("files of another model, K/V type or context are refused", async (t) => {
  const file = join(t.testdir({}), "a.session");
  const model = await load(t, tinyModel());
  await model.session({ tokens: Array.from({ length: 100 }, (_, i) => i % 64) }).save(file);
  const refused = async (
    path: string,
    options: LoadOptions,
    expected: { code: string; message: RegExp },
  ): Promise<void> => {
    const other = await load(t, path, options);
    await t.rejects(other.loadSession(file), { code: expected.code, message: expected.message });
  };
  await refused(tinyModel({ seed: 77 }), {}, { code: "SESSION_MISMATCH", message: /^fingerprint: / });
  await refused(
    tinyModel(),
    { kvCacheType: "q8_0" },
    { code: "SESSION_MISMATCH", message: /^kvCacheType: .*q8_0.*f16/ },
  );
  await refused(tinyModel(), { contextSize: 64 }, { code: "CONTEXT_OVERFLOW", message: /100 tokens.*holds 64/ });
  const copy = join(t.testdir({}), "copy.gguf");
  copyFileSync(tinyModel(), copy);
  const same = await load(t, copy);
  await same.session({ tokens: [1, 2] }).save(file);
  t.same([...(await model.loadSession(file)).tokens], [1, 2], "the same bytes under another name are the same model");
  utimesSync(copy, new Date(1e12), new Date(1e12));
  await t.rejects(same.loadSession(file), { name: "ModelFileError", code: "MODEL_CHANGED" });
  await t.rejects(same.session({ tokens: [1] }).save(file), { code: "MODEL_CHANGED" });
});

t.test("a damaged file touches nothing", async (t) => {
  const model = await load(t, tinyModel());
  const file = join(t.testdir({}), "a.session");
  const ask = () => model.generate("hello world", { ...greedy, maxTokens: 30 });
  const { tokens } = await ask();
  const session = model.session();
  await session.generate("hello world", { ...greedy, maxTokens: 60 });
  await session.save(file);
  const bytes = readFileSync(file);
  for (const place of [0, 100, headerBytes + 3, bytes.length - 1]) {
    const flipped = Buffer.from(bytes);
    flipped[place]! ^= 64;
    writeFileSync(file, flipped);
    const error = await model.loadSession(file).then(undefined, (reason: unknown) => reason);
    t.ok(error instanceof SessionFileError, `byte ${place}: ${(error as Error).message}`);
  }
  t.same((await ask()).tokens, tokens);

  // Somebody who knows the format: right checksums over pages of NaNs and of noise.
  const pagesAt = headerBytes + 4 * session.tokens.length;
  for (const fill of [0x7e, 0x33]) {
    const forged = forge(Buffer.from(bytes).fill(fill, pagesAt), (b) => {
      createHash("sha256").update(b.subarray(pagesAt)).digest().copy(b, at.pagesSha256);
    });
    writeFileSync(file, forged);
    // An engine whose cache has nothing honest to find first.
    const fresh = await load(t, tinyModel());
    const poisoned = await fresh.loadSession(file);
    const prompt = [...session.tokens, 1];
    const options = { ...greedy, maxTokens: 8, logprobs: true };
    const wanted = await model.generate(prompt, options);
    const believed = await poisoned.generate([1], options).then(undefined, () => undefined);
    t.notSame(believed?.logprobs, wanted.logprobs, "the session itself answers from its file");
    const { logprobs } = await fresh.generate(prompt, options);
    t.same(logprobs, wanted.logprobs, "no other request sees it");
    const honest = fresh.session({ tokens: session.tokens });
    t.same((await honest.generate([1], options)).logprobs, wanted.logprobs, "nor another session");
    await poisoned.dispose();
  }
});

t.test("a save that fails leaves the session as it was", async (t) => {
  const model = await load(t, tinyModel());
  const folder = t.testdir({ sub: {} });
  const session = model.session({ tokens: [1, 2, 3] });
  await t.rejects(session.save(join(folder, "sub")), { code: "SESSION_PATH" });
  await t.rejects(session.save(join(folder, "none", "a")), { code: "SESSION_NOT_FOUND" });
  await t.rejects(session.save(""), { code: "INVALID_OPTION", message: /^file: / });
  await t.rejects(model.loadSession(join(folder, "none")), { code: "SESSION_NOT_FOUND" });
  await t.rejects(model.loadSession(7 as never), { code: "INVALID_OPTION" });
  await session.save(join(folder, "sub", "a"));
  t.same([...(await model.loadSession(join(folder, "sub", "a"))).tokens], [1, 2, 3]);
});

t.test("wrong options", async (t) => {
  const model = await load(t, tinyModel());
  t.throws(() => model.session({ tokens: [99999] }), { code: "INVALID_TOKEN", message: /^tokens\[0\]/ });
  t.throws(() => model.session({ tokens: "abc" as never }), { code: "INVALID_OPTION" });
  t.throws(() => model.session({ token: [1] } as never), { code: "INVALID_OPTION", message: /tokens/ });
});

t.test("disposed: the session, and its model", async (t) => {
  const model = await load(t, slowTinyModel(), { contextSize: 2048 });
  const session = model.session();
  const running = session.generate("a", greedy);
  await running.next();
  await session.dispose();
  t.match(await running, { finishReason: "abort" });
  await session.dispose();
  t.equal(session.tokens.length, 0);
  await t.rejects(session.generate("b").then(), { code: "DISPOSED", message: /session/ });
  await t.rejects(session.save("x"), { code: "DISPOSED" });
  const other = model.session();
  const pending = other.generate("a", greedy).then();
  const failed = t.rejects(pending, { code: "DISPOSED" });
  await model.dispose();
  await failed;
  await t.rejects(other.generate("b").then(), { code: "DISPOSED" });
  await t.rejects(other.save("x"), { code: "DISPOSED" });
  await t.rejects(model.loadSession("x"), { code: "DISPOSED" });
  t.throws(() => model.session(), { code: "DISPOSED" });
});
