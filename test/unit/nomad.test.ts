// Lookup attention through the public interface, on a tiny model: codebooks are made once and kept, files that cannot be used
// leave exact attention, and what is approximated is a function of the request alone.
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { calibrate, type GenerateResult, type LoadOptions, loadModel, type Model } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";

const path = tinyModel({
  nLayers: 2,
  dim: 128,
  nHeads: 4,
  nKvHeads: 2,
  headDim: 64,
  hiddenDim: 128,
  vocabSize: 512,
  contextLength: 4096,
  seed: 5,
});
const other = tinyModel({ nLayers: 2, dim: 128, nHeads: 4, nKvHeads: 2, headDim: 64, contextLength: 4096, seed: 6 });
const shared = t.testdir();
const codebooks = join(shared, "tiny.codebooks");
const text = "The mill by the river turns while the miller sleeps. ".repeat(60);
const common = { contextSize: 2048, maxSequences: 4, kvCacheTokens: 8192, threads: 2 } as const;
const nomad = { type: "nomad", codebooks } as const;
const load = (options: LoadOptions = {}): Promise<Model> => loadModel(path, { ...common, ...options });

function inCache(t: Test, folder: string): void {
  const before = process.env.LUTRA_CACHE;
  process.env.LUTRA_CACHE = folder;
  t.teardown(() => {
    if (before === undefined) delete process.env.LUTRA_CACHE;
    else process.env.LUTRA_CACHE = before;
  });
}

const promptOf = (length: number, seed = 0): number[] =>
  Array.from({ length }, (_, i) => 8 + ((Math.imul(i + seed + 1, 2654435761) >>> 16) % 480));
const greedy = { temperature: 0, ignoreEos: true, logprobs: true } as const;
/** Tokens, and log-probabilities whose bits follow from the logits'. */
const answerOf = ({ tokens, logprobs, attention, timings }: GenerateResult) => ({
  tokens,
  logprobs: logprobs?.map(({ logprob }) => logprob),
  attention,
  approximations: timings.approximations,
});

t.before(async () => {
  await calibrate(path, { text, file: codebooks, threads: 2 });
});

t.test("calibrate() writes what loading takes, and says what it used", async (t) => {
  const before = binding.counters();
  const folder = t.testdir();
  const file = join(folder, "own.codebooks");
  const result = await calibrate(path, { text, file, dSub: 4, outliers: 2, contextSize: 600 });
  t.match(result, { file, dSub: 4, outliers: 2, tokens: 600, contextSize: 600 });
  t.same(binding.counters(), before, "nothing stays in memory");
  const again = join(folder, "again.codebooks");
  await calibrate(path, { text, file: again, dSub: 4, outliers: 2, contextSize: 600, threads: 1 });
  t.ok(readFileSync(again).equals(readFileSync(file)), "the same bytes from the same text");
  const model = await load({ attention: { ...nomad, codebooks: file, dSub: 4, outliers: 2 } });
  t.match(model.info.attention, { type: "nomad", mode: "refine", dSub: 4, outliers: 2, codebooks: file });
  t.same(model.info.warnings, []);
  await model.dispose();
  t.same(binding.counters(), before);
});

t.test("calibrate() refuses", async (t) => {
  const file = join(t.testdir(), "x.codebooks");
  const cases: [object, RegExp][] = [
    [{ text: "too short", file }, /text: expected at least 512 tokens to calibrate with, got \d/],
    [{ text, file, contextSize: 100 }, /at least 512 tokens.* a context of 100/],
    [{ file }, /text: expected a string/],
    [{ text, file, dSub: 3 }, /dSub: expected 1, 2 or 4, got 3/],
    [{ text, file, outliers: 1 }, /outliers/],
    [{ text, file: 5 }, /file: expected a path/],
    [{ text, files: file }, /"files" is not an option; did you mean "file"/],
  ];
  for (const [options, message] of cases)
    await t.rejects(calibrate(path, options as never), { code: "INVALID_OPTION", message });
  const signal = AbortSignal.abort();
  await t.rejects(calibrate(path, { text, file, signal }), { code: "ABORTED" });
  t.notOk(existsSync(file));
});

t.test(
  "the first load makes codebooks from the built-in text and keeps them, for replicas and later loads",
  async (t) => {
    const cache = t.testdir();
    inCache(t, cache);
    const first = await load({ attention: "nomad", replicas: 2 });
    const { attention, warnings } = first.info;
    t.match(attention, { type: "nomad", mode: "refine", dSub: 2, codebooks: join(cache, "codebooks") });
    t.same(warnings, []);
    t.equal(first.metrics().attentionFallbacks, 0);
    const [name] = readdirSync(join(cache, "codebooks"));
    const file = join(cache, "codebooks", name!);
    t.equal(attention.type === "nomad" && attention.codebooks, file);
    const { mtimeMs, ino } = statSync(file);
    const prompt = promptOf(1200);
    const [one, two] = await Promise.all([1, 2].map(() => first.generate(prompt, { ...greedy, maxTokens: 8 })));
    t.ok(one!.attention, "approximated");
    t.same(answerOf(two!), answerOf(one!), "on both replicas");
    await first.dispose();
    const second = await load({ attention: "nomad" });
    t.same(answerOf(await second.generate(prompt, { ...greedy, maxTokens: 8 })), answerOf(one!));
    await second.dispose();
    const pure = await load({ attention: { type: "nomad", mode: "pure" } });
    await pure.dispose();
    t.match(statSync(file), { mtimeMs, ino }, "read, not written");
    t.equal(readdirSync(join(cache, "codebooks")).length, 2, "d_sub 1 has its own");
  },
);

t.test("a file that cannot be used: exact, a warning, counted, and the file stays as it is", async (t) => {
  const cache = t.testdir();
  inCache(t, cache);
  const prompt = promptOf(1200);
  const exact = await load();
  const expected = answerOf(await exact.generate(prompt, { ...greedy, maxTokens: 8 }));
  t.same(exact.info.attention, { type: "exact" });
  t.equal(exact.metrics().attentionFallbacks, 0);
  await exact.dispose();
  const damaged = Buffer.from(readFileSync(codebooks));
  damaged[damaged.length - 5]! ^= 1;
  writeFileSync(join(cache, "damaged.codebooks"), damaged);
  await calibrate(other, { text, file: join(cache, "other.codebooks") });
  const cases: [string, LoadOptions["attention"], RegExp][] = [
    [
      "missing",
      { type: "nomad", codebooks: join(cache, "absent") },
      /"[^"]*absent" could not be read: .*does not exist/,
    ],
    ["damaged", { type: "nomad", codebooks: join(cache, "damaged.codebooks") }, /codebooks: wrong checksum/],
    ["another model's", { type: "nomad", codebooks: join(cache, "other.codebooks") }, /another model file/],
    ["of another dSub", { ...nomad, dSub: 4 }, /dSub: expected 4, got 2/],
    ["a folder", { type: "nomad", codebooks: cache }, /regular file/],
  ];
  for (const [name, attention, message] of cases) {
    const model = await load({ attention });
    t.same(model.info.attention, { type: "exact" }, name);
    t.equal(model.info.warnings.length, 1);
    t.match(model.info.warnings[0], /^attention: exact in place of nomad: /);
    t.match(model.info.warnings[0], message);
    t.equal(model.metrics().attentionFallbacks, 1);
    t.same(answerOf(await model.generate(prompt, { ...greedy, maxTokens: 8 })), expected, `${name}: bit for bit`);
    await model.dispose();
  }
  const made = await load({ attention: "nomad" });
  const { attention } = made.info;
  const file = attention.type === "nomad" ? attention.codebooks : "";
  await made.dispose();
  writeFileSync(file, "damaged");
  const model = await load({ attention: "nomad" });
  t.match(model.info.warnings, [/does not start as one; remove it, or write it again with lutra calibrate/]);
  t.equal(readFileSync(file, "utf8"), "damaged");
  await model.dispose();
  await calibrate(path, { text });
  const again = await load({ attention: "nomad" });
  t.match(again.info, { attention: { type: "nomad", codebooks: file }, warnings: [] });
  await again.dispose();
});

t.test("bytes that only the engine finds wrong: exact too, on every replica", async (t) => {
  const { writeCodebooks } = await import("../../dist/esm/calibration/index.js");
  const { fingerprint } = await import("../../dist/esm/files/index.js");
  const file = join(t.testdir(), "nonsense.codebooks");
  const training = { spread: true, contextSize: 1, tokens: 1, textSha256: new Uint8Array(32) };
  const parameters = { dSub: 2, outliers: 0 } as const;
  const nonsense = { fingerprint: await fingerprint(path, null), parameters, training, codebooks: new Uint8Array(50) };
  await writeCodebooks(file, nonsense);
  const model = await load({ attention: { type: "nomad", codebooks: file }, replicas: 2 });
  t.match(model.info.warnings, [/^attention: exact in place of nomad: codebooks/]);
  t.equal(model.metrics().attentionFallbacks, 1);
  t.ok((await model.generate("a", { maxTokens: 2, ignoreEos: true })).text);
  await model.dispose();
});

t.test("a cache that cannot be written: made in memory, and a warning", async (t) => {
  const file = join(t.testdir({ cache: "a file, not a folder" }), "cache");
  inCache(t, file);
  const model = await load({ attention: "nomad" });
  t.equal(model.info.attention.type, "nomad");
  t.match(model.info.warnings, [/^attention: the codebooks were not kept, so every load makes them again: /]);
  t.equal(model.metrics().attentionFallbacks, 0);
  t.ok((await model.generate(promptOf(1200), { ...greedy, maxTokens: 4 })).attention);
  await model.dispose();
});

t.test("a context too short for the text: exact, and it says why", async (t) => {
  const cache = t.testdir();
  inCache(t, cache);
  const model = await loadModel(tinyModel({ contextLength: 128 }), { attention: "nomad" });
  t.match(model.info.warnings, [/exact in place of nomad: text: expected at least 512 tokens/]);
  await model.dispose();
  t.notOk(existsSync(join(cache, "codebooks")));
});

t.test("prompts are exact; what follows a long one is approximated, and says so", async (t) => {
  const exact = await load();
  const model = await load({ attention: { ...nomad, epsilon: 0.2 } });
  const short = { ...greedy, maxTokens: 40 };
  const [a, b] = await Promise.all([exact, model].map((each) => each.generate(promptOf(900), short)));
  t.same(answerOf(b!), answerOf(a!), "below a thousand positions");
  t.notOk("attention" in b!);
  t.same(b!.timings.approximations, []);
  const long = { ...greedy, maxTokens: 12 };
  const [c, d] = await Promise.all([exact, model].map((each) => each.generate(promptOf(1500), long)));
  t.equal(d!.logprobs![0]!.logprob, c!.logprobs![0]!.logprob, "the prompt's last row");
  t.not(d!.logprobs![1]!.logprob, c!.logprobs![1]!.logprob);
  const { kept, dropped } = d!.attention!;
  t.ok(kept > 0 && kept <= 1, `${kept}`);
  t.ok(dropped >= 0 && dropped < 1, `${dropped}`);
  const said = /^nomad refine d2: (\d+\.\d) % of keys read, (\d+\.\d) % of attention mass left out \(estimated\)$/;
  t.match(d!.timings.approximations, [said]);
  t.equal(Number(said.exec(d!.timings.approximations[0]!)![1]), Number((100 * kept).toFixed(1)));
  const scored = await Promise.all([exact, model].map((each) => each.perplexity(promptOf(1300))));
  t.same(scored[0]!.approximations, []);
  t.match(scored[1]!.approximations, [said], "a text that is scored is approximated");
  const first = scored.map(({ logprobs }) => [...logprobs.subarray(0, 1000)]);
  t.same(first[1], first[0], "but for its beginning");
  const { vectors } = await model.embed([promptOf(1400)]);
  t.same(vectors, (await exact.embed([promptOf(1400)])).vectors, "embeddings are exact");
  await Promise.all([exact.dispose(), model.dispose()]);
});

t.test(
  "a request's answer is its own: threads, company, drafts, cached prefixes and lost pages change no bit",
  async (t) => {
    const asks = [0, 1, 2, 3].map((i) => promptOf(1100 + 40 * i, i < 2 ? 0 : i));
    const options = { ...greedy, maxTokens: 70 };
    const alone: ReturnType<typeof answerOf>[] = [];
    {
      await using model = await load({ attention: nomad, threads: 1, speculation: "off", maxSequences: 1 });
      for (const ask of asks) alone.push(answerOf(await model.generate(ask, { ...options, cachePrompt: false })));
    }
    t.ok(alone.every(({ attention }) => attention !== undefined));
    const settings: [string, LoadOptions, number?][] = [
      ["together", {}],
      ["with chaotic drafts", { speculation: { drafters: ["chaos"], maxNodes: 12 } }],
      ["with drafts from the text", { speculation: { drafters: ["suffix", "recycling"] }, threads: 1 }],
      // Two that share no beginning begin with 37 and 39 pages and end with 40 and 41.
      ["with too few pages", { kvCacheTokens: 32 * 78 }, 2],
    ];
    for (const [name, setting, from = 0] of settings) {
      await using model = await load({ attention: nomad, ...setting });
      for (const round of ["first", "again, from the cache"]) {
        const answers = await Promise.all(asks.slice(from).map((ask) => model.generate(ask, options)));
        for (const [i, answer] of answers.entries())
          t.same(answerOf(answer), alone[from + i], `${name}, ${round}: request ${from + i}`);
      }
      // The second turn's prompt holds the first one's answer, exactly: whoever wants its own back must not find that.
      const turn = [...asks[0]!, ...alone[0]!.tokens, 9];
      const [second, first] = await Promise.all([turn, asks[0]!].map((ask) => model.generate(ask, options)));
      t.same(answerOf(first!), alone[0], `${name}: beside its own second turn`);
      t.equal(second!.tokens.length, 70);
      t.ok(second!.usage.cachedTokens <= asks[0]!.length, "an answer is not in the cache");
      if (from > 0) t.ok(model.metrics().preemptions > 0, "pages ran out");
    }
  },
);

t.test("a session that is saved holds exact keys and values, whoever saved it", async (t) => {
  const folder = t.testdir();
  const approximate = await load({ attention: nomad });
  const session = approximate.session();
  const result = await session.generate(promptOf(1300), { ...greedy, maxTokens: 40 });
  t.ok(result.attention);
  await session.save(join(folder, "nomad"));
  const exact = await load();
  const same = exact.session({ tokens: session.tokens });
  await same.save(join(folder, "exact"));
  t.ok(readFileSync(join(folder, "nomad")).equals(readFileSync(join(folder, "exact"))), "the same bytes");
  const next = (model: Model, file: string) =>
    model.loadSession(join(folder, file)).then((loaded) => loaded.generate([7], { ...greedy, maxTokens: 30 }));
  const [a, b, c] = [await next(approximate, "exact"), await next(approximate, "nomad"), await next(exact, "nomad")];
  t.same(answerOf(a!), answerOf(b!));
  t.equal(a!.usage.cachedTokens, c!.usage.cachedTokens);
  t.ok(a!.usage.cachedTokens > 1300);
  const whole = await approximate.generate([...session.tokens, 7], { ...greedy, maxTokens: 30, cachePrompt: false });
  t.same(answerOf(a!), answerOf(whole), "as if it had never been saved");
  await Promise.all([approximate.dispose(), exact.dispose()]);
});

t.test("the command line", async (t) => {
  const folder = t.testdir({ "text.txt": text });
  const out = join(folder, "deep", "cli.codebooks");
  const env = { LUTRA_CACHE: join(folder, "cache") };
  const args = ["calibrate", "-m", path, "-f", join(folder, "text.txt")];
  const made = await runCli([...args, "--d-sub", "4", "-o", out, "--json"], { env });
  t.equal(made.code, 0, made.stderr);
  const { ms, ...document } = JSON.parse(made.stdout) as Record<string, unknown>;
  t.ok((ms as number) > 0);
  t.match(document, { file: out, d_sub: 4, outliers: 0, n_ctx: 4096 });
  const prompt = join(folder, "prompt.txt");
  writeFileSync(prompt, text);
  const generate = ["generate", "-m", path, "-f", prompt, "-n", "4", "--temp", "0", "--json"];
  const run = await runCli([...generate, "--attention", `nomad:refine,dSub=4,epsilon=0.1,codebooks=${out}`], { env });
  t.equal(run.code, 0, run.stderr);
  const answer = JSON.parse(run.stdout) as { attention?: object; timings: { approximations: string[] } };
  t.match(answer.timings.approximations, [/^nomad refine d4: /]);
  t.match(answer.attention, { kept: Number, dropped: Number });
  const missing = await runCli([...generate, "--attention", "nomad:codebooks=absent"], { env });
  t.equal(missing.code, 0, missing.stderr);
  t.match(missing.stderr, /^lutra: attention: exact in place of nomad: "absent" could not be read/m);
  t.notOk("attention" in (JSON.parse(missing.stdout) as object));
  t.notOk(existsSync(join(folder, "cache")), "nothing was written unasked");
  const own = await runCli(args, { env });
  t.match(own.stdout, /^\S+cache\S+nomad-v1-[0-9a-f]{32}-d2-o0.codebooks: from \d+ tokens in [\d.]+ s\n$/);
  const short = await runCli(["calibrate", "-m", path, "short"], { env });
  t.equal(short.code, 2);
  t.match(short.stderr, /^lutra: text: expected at least 512 tokens to calibrate with, got \d+ \(INVALID_OPTION\)\n$/);
  mkdirSync(join(folder, "taken"));
  const taken = await runCli([...args, "-o", join(folder, "taken")], { env });
  t.equal(taken.code, 1);
  t.match(taken.stderr, /expected a regular file, got a folder \(CODEBOOKS_IO\)/);
});
