// chat(), long prompts and tokenizeBatch(): encoded off the caller's thread, with the answers and errors of encoding on it.
import t from "tap";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { limits } from "../../dist/esm/limits.js";
import { checkLoopDelay } from "../support/loop-delay.js";
import { tinyModel, tinyTemplate } from "../support/models.js";

const greedy = { temperature: 0, ignoreEos: true, maxTokens: 8 };
const user = (content: string) => [{ role: "user" as const, content }];
/** Some 60 ms of CPU. */
const slowTemplate = `{% for i in range(50) %}{% for j in range(300) %}{% set x = j %}{% endfor %}{% endfor %}${tinyTemplate}`;
let model: Model;
t.before(async () => {
  const path = tinyModel({ chatTemplate: tinyTemplate, contextLength: 65_536 });
  model = await loadModel(path, { contextSize: 65_536, maxSequences: 2 });
});
t.teardown(() => model.dispose());

const outcomeOf = (promise: PromiseLike<unknown>): Promise<{ code?: string; message?: string }> =>
  Promise.resolve(promise).then(
    () => ({}),
    (error: { code: string; message: string }) => error,
  );

t.test("a chat is the prompt that its template renders", async (t) => {
  const chat = await model.chat(user(" hello "), greedy);
  const text = await model.generate("<|user|>hello\n<|assistant|>", { ...greedy, parseSpecial: true });
  t.same(chat.tokens, text.tokens);
  t.equal(chat.usage.promptTokens, text.usage.promptTokens);
  const kwargs = { chatTemplate: "{{ name }}", chatTemplateKwargs: { name: "otter" } };
  t.equal((await model.chat(user("x"), { ...greedy, ...kwargs })).usage.promptTokens, model.tokenize("otter").length);
});

t.test("a slow template leaves this thread free", async (t) => {
  await model.chat(user("warm"), greedy);
  await checkLoopDelay(t, 20, async () => {
    const started = performance.now();
    const chat = () => model.chat(user("hello"), { ...greedy, chatTemplate: slowTemplate });
    const results = Array.from({ length: 4 }, chat);
    t.ok(performance.now() - started < 50, "the calls return at once");
    await Promise.all(results);
  });
});

t.test("errors of templates, messages and arguments come through the result", async (t) => {
  const chat = (messages: unknown, options: object): Promise<{ code?: string; message?: string }> =>
    outcomeOf(model.chat(messages as never, options));
  t.match(await chat(user("x"), { chatTemplate: "{{ raise_exception('no') }}" }), {
    code: "TEMPLATE_INVALID",
    message: /no/,
  });
  t.match(await chat(user("x"), { chatTemplate: "{% for i in range(1000000) %}{% endfor %}" }), {
    code: "TEMPLATE_LIMIT",
  });
  t.match(await chat([{ role: "x", content: "" }], {}), { code: "INVALID_MESSAGES", message: /messages\[0\]\.role/ });
  t.match(await chat(user("x"), { chatTemplateKwargs: { f: () => 1 } }), {
    code: "INVALID_OPTION",
    message: /kwargs.f/i,
  });
  t.match(await chat(user("x"), { chatTemplate: "{{ 'x' * 1 }}" }), { code: "TEMPLATE_INVALID" });
  t.match(await chat(user("the otter ".repeat(40_000)), greedy), { code: "CONTEXT_OVERFLOW" });
});

t.test("a long prompt gives the answer of its ids", async (t) => {
  const text = "the otter and the sea ".repeat(Math.ceil(limits.maxInlineText / 22) + 1);
  t.ok(text.length > limits.maxInlineText);
  const ids = model.tokenize(text);
  t.same((await model.generate(text, greedy)).tokens, (await model.generate(ids, greedy)).tokens);
  t.equal((await model.generate(text, greedy)).usage.promptTokens, ids.length);
  const scored = await model.perplexity(text, { contextSize: 512 });
  t.equal(scored.tokens, ids.length);
  t.match(await outcomeOf(model.generate("the otter ".repeat(100_000), greedy)), { code: "CONTEXT_OVERFLOW" });
});

t.test("tokenizeBatch: as tokenize", async (t) => {
  const texts = Array.from({ length: 5000 }, (_, i) => (i % 7 === 0 ? "" : `otter ${i} <|im_start|> 世界`));
  texts[3] = "the otter ".repeat(60_000);
  for (const options of [undefined, { addSpecial: false }, { parseSpecial: true }]) {
    const batch = await model.tokenizeBatch(texts, options);
    t.equal(batch.length, texts.length);
    t.ok(batch.every((ids) => ids instanceof Int32Array));
    const wrong = texts.findIndex((text, i) => model.tokenize(text, options).join() !== batch[i]?.join());
    t.equal(wrong, -1);
  }
  t.same(await model.tokenizeBatch([]), []);
});

t.test("tokenizeBatch: wrong arguments, aborts", async (t) => {
  const batch = (texts: unknown, options?: unknown): Promise<{ code?: string; message?: string }> =>
    outcomeOf(model.tokenizeBatch(texts as string[], options as object));
  t.match(await batch("text"), { code: "INVALID_OPTION", message: /^texts: expected an array/ });
  t.match(await batch(["a", 5]), { code: "INVALID_OPTION", message: /^texts\[1\]: expected a string, got 5/ });
  t.match(await batch(new Array(2 ** 32 - 1)), { code: "INVALID_OPTION", message: /^texts: / });
  t.match(await batch(["a"], { addSpecial: 1 }), { code: "INVALID_OPTION", message: /^addSpecial/ });
  t.match(await batch(["a"], { addspecial: true }), { code: "INVALID_OPTION", message: /addSpecial/ });
  t.match(await batch(["a"], { signal: AbortSignal.abort() }), { code: "ABORTED" });
  const long = Array.from({ length: 40 }, () => "the otter ".repeat(30_000));
  const started = performance.now();
  t.match(await batch(long, { signal: AbortSignal.timeout(20) }), { code: "ABORTED" });
  t.ok(performance.now() - started < 2000, "no longer than the task that runs");
  t.equal((await model.tokenizeBatch(["a"])).length, 1);
});
