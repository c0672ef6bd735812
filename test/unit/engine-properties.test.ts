// R1–R5, R8, R9 through the public API: seeded random option combinations, each either refused by name or answered in full.
import { createRequire } from "node:module";
import t from "tap";
import * as lutra from "../../dist/esm/index.js";
import { limits } from "../../dist/esm/limits.js";
import { uniform } from "../../dist/esm/sampling/index.js";
import { fittingContexts } from "../../dist/esm/worker/entry.js";
import { tinyModel, tinyTemplate } from "../support/models.js";

const { loadModel } = lutra;
const runs = Number(process.env.LUTRA_TEST_PROPERTIES ?? 400);
const seed = Number(process.env.LUTRA_TEST_SEED ?? 20260);

let model: lutra.Model;
t.before(async () => {
  model = await loadModel(tinyModel({ chatTemplate: tinyTemplate }), { contextSize: 96, maxSequences: 4 });
});
t.teardown(() => model.dispose());

type Choice = { good: unknown[]; bad: unknown[] };
const wrongNumbers = [Number.NaN, Infinity, -Infinity, "1", null, {}, [], 2 ** 64, 1n, () => 1];
const throwing = new Proxy([], {
  get() {
    throw new Error("trap");
  },
});
const tooManyBiases = Object.fromEntries(Array.from({ length: limits.maxLogitBias + 1 }, (_, i) => [i, 1]));

const schema: Record<string, Choice> = {
  maxTokens: { good: [1, 2, 7, 1e6], bad: [...wrongNumbers, 0, -1, 1.5] },
  temperature: { good: [0, 1e-30, 0.7, 1, 100], bad: [...wrongNumbers, -1, 101] },
  topK: { good: [0, 1, 40, 1e9], bad: [...wrongNumbers, -1, 1.5] },
  topP: { good: [0, 1e-30, 0.5, 1], bad: [...wrongNumbers, -0.1, 1.01] },
  minP: { good: [0, 0.05, 1], bad: [...wrongNumbers, -0.1, 1.01] },
  typicalP: { good: [0, 0.5, 1], bad: [...wrongNumbers, 2] },
  repeatPenalty: { good: [0.01, 1, 1.3, 100], bad: [...wrongNumbers, 0, -1] },
  repeatLastN: { good: [-1, 0, 1, 64, 1e6], bad: [...wrongNumbers, -2, 0.5] },
  presencePenalty: { good: [-100, 0, 0.5, 100], bad: [...wrongNumbers, 101] },
  frequencyPenalty: { good: [-100, 0, 0.5, 100], bad: [...wrongNumbers, -101] },
  seed: { good: [0, 1, Number.MAX_SAFE_INTEGER], bad: [...wrongNumbers, -1] },
  stop: {
    good: ["zz", [], ["a", "ab", "abc"], ["😀"]],
    bad: ["", ["a", ""], [1], 5, null, "x".repeat(1 << 20), Array(17).fill("x"), ["\ud800"], throwing],
  },
  logitBias: {
    good: [{}, { 3: 5 }, { 3: -Infinity, 4: 1e6 }],
    bad: [{ [-1]: 1 }, { 1.5: 1 }, { 4294967296: 1 }, { 1: Number.NaN }, { 1: "x" }, [], 5, null, tooManyBiases],
  },
  logprobs: { good: [true, false, 0, 20], bad: [21, -1, 1.5, "x", null] },
  parseSpecial: { good: [true, false], bad: [0, "yes", null] },
  ignoreEos: { good: [true, false], bad: [1, null] },
  signal: { good: [new AbortController().signal], bad: [{}, 1, null] },
  onPromptProgress: { good: [() => {}], bad: [1, "x", null] },
};
const names = Object.keys(schema);

/** One random combination; `bad` are the fields with a wrong value. */
function draw(run: number): { options: Record<string, unknown>; bad: string[] } {
  let count = 0;
  const random = (): number => uniform(seed + run, count++);
  const pick = (list: unknown[]): unknown => list[Math.floor(random() * list.length)];
  const options: Record<string, unknown> = {};
  const bad: string[] = [];
  const wrongFields = random() < 0.5 ? 0 : 1 + Math.floor(random() * 2);
  for (const name of names) if (random() < 0.4) options[name] = pick((schema[name] as Choice).good);
  for (let i = 0; i < wrongFields; i++) {
    const name = pick(names) as string;
    options[name] = pick((schema[name] as Choice).bad);
    if (!bad.includes(name)) bad.push(name);
  }
  return { options, bad };
}

t.test(`every combination is refused by name or answered in full (seed ${seed})`, async (t) => {
  let answered = 0;
  for (let run = 0; run < runs; run++) {
    const { options, bad } = draw(run);
    const result = await model.generate("a b c", options as lutra.GenerateOptions).then(
      (value) => ({ value, error: undefined }),
      (error: unknown) => ({ value: undefined, error: error as lutra.LutraError }),
    );
    const told = `run ${run}: ${JSON.stringify(Object.keys(options))}`;
    if (bad.length > 0) {
      const { error } = result;
      if (!(error instanceof lutra.InvalidOptionError)) t.fail(`${told}: ${bad} accepted, ${error}`);
      else if (!bad.some((name) => error.message.startsWith(name))) t.fail(`${told}: ${error.message}`);
      continue;
    }
    if (result.value === undefined) {
      t.fail(`${told}: ${result.error}`);
      continue;
    }
    answered++;
    const { text, tokens, finishReason, usage, logprobs } = result.value;
    const room = Math.min((options["maxTokens"] as number) ?? Infinity, 96 - usage.promptTokens + 1);
    const sound =
      tokens.length === usage.completionTokens &&
      tokens.length <= room &&
      (finishReason === "stop" || tokens.length === room) &&
      tokens.every((id) => Number.isInteger(id) && id >= 0 && id < model.info.vocabSize) &&
      (finishReason === "stop" ? model.detokenize(tokens).startsWith(text) : text === model.detokenize(tokens)) &&
      (logprobs ?? []).every(({ logprob }) => logprob <= 0 || Math.abs(logprob) < 1e-5);
    if (!sound) t.fail(`${told}: ${JSON.stringify({ text, tokens, finishReason, usage, room })}`);
  }
  t.ok(answered > runs / 4, `${answered} of ${runs} answered`);
  t.match(model.metrics(), { running: 0, queued: 0, freePages: model.metrics().pages });
});

t.test("prompts of wrong ids and of impossible sizes", async (t) => {
  const wrong: unknown[] = [-1, model.info.vocabSize, Number.NaN, 1.5, 2 ** 32, "5", null, undefined, {}, 5n];
  for (const id of wrong) {
    await t.rejects(model.generate([5, id as number]).then(), { code: "INVALID_TOKEN", message: /^prompt\[1\]/ });
    t.throws(() => model.detokenize([id as number]), { code: "INVALID_TOKEN", message: /^tokens\[0\]/ });
    await t.rejects(model.perplexity([5, id as number]), { code: "INVALID_TOKEN", message: /^text\[1\]/ });
  }
  const holes = new Array<number>(2 ** 32 - 1);
  await t.rejects(model.generate(holes).then(), { code: "INVALID_OPTION", message: /^prompt: expected at most/ });
  const buffer = new ArrayBuffer(8);
  const detached = new Int32Array(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  await t.rejects(model.generate(detached).then(), { code: "INVALID_OPTION", message: /^prompt/ });
  await t.rejects(model.generate(throwing).then(), { code: "INVALID_OPTION", message: /^prompt/ });
  const shared = new Int32Array(new SharedArrayBuffer(8)).fill(5);
  t.equal((await model.generate(shared, { maxTokens: 1, ignoreEos: true })).tokens.length, 1);
  await t.rejects(model.generate("x".repeat(5000)).then(), { code: "CONTEXT_OVERFLOW", message: /5\d\d\d.* 96/ });
});

t.test("getters and proxies: read once, and what they throw is typed", async (t) => {
  const angry = {
    get temperature(): number {
      throw new Error("trap");
    },
  };
  await t.rejects(model.generate("a", angry).then(), { code: "INVALID_OPTION", message: /^temperature/ });
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  await t.rejects(model.generate("a", proxy).then(), { code: "INVALID_OPTION" });
  await t.rejects(model.chat([{ role: "user", content: "a" }], proxy).then(), { code: "INVALID_OPTION" });
  await t.rejects(model.perplexity("a b c", proxy), { code: "INVALID_OPTION" });
  await t.rejects(loadModel(tinyModel(), proxy), { code: "INVALID_OPTION" });
  t.throws(() => model.tokenize("a", proxy), { code: "INVALID_OPTION" });
  t.throws(() => model.tokenize("a", { addSpecial: 1 } as object), { code: "INVALID_OPTION" });
  t.throws(() => model.detokenize([5], { showSpecial: "x" } as object), { code: "INVALID_OPTION" });
  const reads: Record<string, number> = {};
  const counted = new Proxy(
    { maxTokens: 1, signal: new AbortController().signal, onPromptProgress: () => {} } as object,
    {
      get(target, name) {
        reads[String(name)] = (reads[String(name)] ?? 0) + 1;
        return Reflect.get(target, name) as unknown;
      },
    },
  );
  await model.generate("a", counted);
  t.same([...new Set(Object.values(reads))], [1], JSON.stringify(reads));
});

t.test("messages that are none", async (t) => {
  for (const messages of ["hi", null, [], [null], [{ role: "user" }], [{ role: "x", content: "" }], [throwing]]) {
    const error = await model.chat(messages as lutra.ChatMessage[]).then(undefined, (reason: unknown) => reason);
    t.match(error, { name: "InvalidOptionError", code: "INVALID_MESSAGES", message: /^messages/ });
  }
});

t.test("techniques: defaults load, what is none is refused", async (t) => {
  const defaults = { kvCacheType: "f16", matmul: "dot", attention: "exact", ffnSparsity: false, speculation: "auto" };
  await (await loadModel(tinyModel(), defaults as lutra.LoadOptions)).dispose();
  for (const field of ["kvCacheType", "ffnSparsity"]) {
    for (const value of ["nonsense", 5, null, { type: 1 }, throwing]) {
      const message = new RegExp(`^${field}(\\.type)?: expected `);
      await t.rejects(loadModel(tinyModel(), { [field]: value } as object), { code: "INVALID_OPTION", message });
    }
  }
});

t.test("every name of the interface, through import and require", (t) => {
  const required = createRequire(import.meta.url)("../../dist/cjs/index.js") as Record<string, unknown>;
  t.same(Object.keys(required).sort(), Object.keys(lutra).sort());
  const errors =
    "ModelFileError UnsupportedModelError InsufficientMemoryError ContextOverflowError InvalidOptionError QueueFullError AbortedError DisposedError BinaryNotFoundError";
  for (const name of ["loadModel", ...errors.split(" ")]) t.type(required[name], "function", name);
  for (const name of [
    "generate",
    "chat",
    "tokenize",
    "detokenize",
    "embed",
    "perplexity",
    "estimate",
    "metrics",
    "dispose",
  ]) {
    t.type(Reflect.get(model, name), "function", name);
  }
  t.end();
});

t.test("the default number of sequences shrinks with the memory", (t) => {
  const gigabyte = 2 ** 30;
  t.equal(fittingContexts(4, gigabyte, 0), 4, "unknown memory");
  t.equal(fittingContexts(4, gigabyte, 100 * gigabyte), 4);
  t.equal(fittingContexts(4, gigabyte, 4.2 * gigabyte), 2);
  t.equal(fittingContexts(4, gigabyte, gigabyte / 2), 1, "one at least: the engine says what is missing");
  t.end();
});
