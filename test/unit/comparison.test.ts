// perplexity() against exact computation: what its numbers are, how it ends, and that it leaves nothing behind.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { slowTinyModel, tinyModel } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";
import { runCli } from "../support/run-cli.js";

const ids = Array.from({ length: 300 }, (_, i) => (i * 7) % 64);
const against = "exact" as const;

t.test("exact against exact is no distance", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 512, maxSequences: 1 });
  const plain = await model.perplexity(ids);
  const compared = await model.perplexity(ids, { against });
  t.notOk(plain.against);
  t.match(compared, { tokens: plain.tokens, scored: plain.scored });
  t.ok(Math.abs(compared.nll - plain.nll) < 1e-6, "it scores the same tokens");
  t.match(compared.against, { ppl: compared.ppl, klMean: 0, klP99: 0, top1Agreement: 1 });
  const bucket = { from: 0, to: 1024, tokens: 299, ppl: compared.ppl, pplAgainst: compared.ppl, klMean: 0, klP99: 0 };
  t.same(compared.against?.buckets, [{ ...bucket, top1Agreement: 1 }]);
  t.same(
    [...(compared.against?.rows.positions ?? [])],
    ids.slice(1).map((_, i) => i + 1),
  );
});

t.test("q8_0 keys and values are a small distance", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 2048, maxSequences: 1, kvCacheType: "q8_0" });
  const plain = await model.perplexity(ids);
  const compared = await model.perplexity(ids, { against });
  t.ok(Math.abs(compared.nll - plain.nll) < 1e-6, "the model's own settings are the approximate side");
  const { klMean = 0, klP99 = 0, top1Agreement = 0, rows } = compared.against ?? {};
  t.ok(klMean > 1e-9 && klMean < 1e-2, `mean KL ${klMean}`);
  t.ok(klP99 > klMean && klP99 < 0.1, `99th percentile ${klP99}`);
  t.ok(top1Agreement > 0.9, `top-1 ${top1Agreement}`);
  t.ok(rows && rows.kl.length === 299 && rows.kl.every((kl) => kl >= 0));
  await t.test("the exact side is f16", async (t) => {
    await using exact = await loadModel(tinyModel(), { contextSize: 512, maxSequences: 1 });
    const { nll, logprobs } = await exact.perplexity(ids, { against });
    t.equal(compared.against?.ppl, Math.exp(nll));
    t.same(rows?.logprobs, logprobs);
  });
});

t.test("exactTokens leaves the beginning of every window out", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 128, maxSequences: 1, kvCacheType: "q8_0" });
  const text = "some text of a few words ".repeat(20);
  const whole = await model.perplexity(text, { against });
  const tail = await model.perplexity(text, { against, exactTokens: 100 });
  const late = [...(whole.against?.rows.positions.entries() ?? [])].flatMap(([row, at]) => (at > 100 ? [row] : []));
  t.ok(late.length > 0 && late.length < whole.scored);
  t.same(
    [...tail.logprobs],
    late.map((row) => whole.logprobs[row]),
  );
  t.same(
    [...(tail.against?.rows.kl ?? [])],
    late.map((row) => whole.against?.rows.kl[row]),
  );
});

t.test("buckets by position", async (t) => {
  await using model = await loadModel(tinyModel({ contextLength: 8448 }), { maxSequences: 1, contextSize: 8448 });
  const long = Array.from({ length: 8300 }, (_, i) => (i * 7) % 64);
  const { against: found } = await model.perplexity(long, { against, exactTokens: 1000 });
  const buckets = found?.buckets.map(({ from, to, tokens }) => [from, to, tokens]);
  t.same(buckets, [
    [0, 1023, 24],
    [1024, 4096, 3072],
    [4096, 8192, 4096],
    [8192, Infinity, 108],
  ]);
});

t.test("what it refuses", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 64, maxSequences: 1 });
  const refused: [unknown, RegExp][] = [
    [{ against: "f32" }, /^against: expected "exact", got "f32"/],
    [{ exactTokens: 3 }, /^exactTokens: .*against/],
    [{ against, exactTokens: -1 }, /^exactTokens: expected an integer in \[0, 62\]/],
    [{ against, exactTokens: 63 }, /^exactTokens/],
    [{ against, exactTokens: 1.5 }, /^exactTokens/],
    [{ against, exactTokens: 9 }, /^text: expected tokens to compare, got exactTokens 9 and at most 10/],
  ];
  for (const [options, message] of refused) {
    await t.rejects(model.perplexity(ids.slice(0, 10), options as object), { code: "INVALID_OPTION", message });
  }
  await t.rejects(model.perplexity([5], { against }), { code: "INVALID_OPTION", message: /at least 2 tokens/ });
  await t.rejects(model.perplexity(ids, { against }), { code: "CONTEXT_OVERFLOW" });
});

t.test("aborts, disposal, and nothing left", async (t) => {
  const before = binding.counters();
  const model = await loadModel(slowTinyModel(), { contextSize: 4096, maxSequences: 1, threads: 1 });
  const long = Array.from({ length: 4000 }, (_, i) => (i * 7) % 500);
  const loaded = binding.counters();
  await t.rejects(model.perplexity(long, { against, signal: AbortSignal.abort("x") }), { code: "ABORTED", cause: "x" });
  const controller = new AbortController();
  const started = performance.now();
  const running = model.perplexity(long, { against, signal: controller.signal });
  const waitingController = new AbortController();
  const waiting = model.perplexity(long, { against, signal: waitingController.signal });
  setTimeout(() => waitingController.abort(), 50);
  await t.rejects(waiting, { code: "ABORTED" }, "one that waits need not wait for its turn");
  setTimeout(() => controller.abort("enough"), 300);
  await t.rejects(running, { code: "ABORTED", cause: "enough" });
  t.ok(performance.now() - started < 3000, "within a layer of a chunk");
  t.same(binding.counters(), loaded, "its engines are gone");
  t.match(await model.perplexity(long.slice(0, 50), { against }), { scored: 49 });
  const ended = [model.perplexity(long, { against }), model.perplexity(long, { against })];
  for (const each of ended) each.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await model.dispose();
  for (const each of ended) await t.rejects(each, { code: "DISPOSED" });
  t.same(binding.counters(), before);
  await t.rejects(model.perplexity(ids, { against }), { code: "DISPOSED" });
});

t.test("the binding compares readable rows of two engines", (t) => {
  const [a, b] = [new NativeSession(tinyModel()), new NativeSession(tinyModel(), { kvType: "q8_0" })];
  const other = new NativeSession(tinyModel({ vocabSize: 330 }));
  const rows = [a, b, other].map((session) => {
    const logits: Float32Array[] = [];
    session.feed(ids.slice(0, 40), 64, (_, row) => void logits.push(row.slice()));
    return logits;
  });
  const targets = Int32Array.from(ids.slice(1, 41));
  const out = new Float64Array(160);
  binding.engineCompareLogits(b.engine, a.engine, 40, targets, out);
  for (let r = 0; r < 40; r++) {
    const [approximate, exact] = [rows[1]?.[r], rows[0]?.[r]].map((row) => logSoftmax(row as Float32Array));
    const [p, q] = [approximate as number[], exact as number[]];
    const kl = q.reduce((sum, y, i) => sum + Math.exp(y) * (y - (p[i] as number)), 0);
    const expected = [kl, p[targets[r] as number], q[targets[r] as number]] as number[];
    const found = [...out.subarray(4 * r, 4 * r + 3)];
    t.ok(
      expected.every((value, i) => Math.abs(value - (found[i] as number)) < 1e-12),
      `row ${r}`,
    );
    t.equal(out[4 * r + 3], p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)) ? 1 : 0);
  }
  const compare =
    (exact: number, count = 40, tokens = targets, room = out) =>
    () =>
      binding.engineCompareLogits(b.engine, exact, count, tokens, room);
  t.throws(compare(b.engine), { code: "INVALID_OPTION", message: /another engine/ });
  t.throws(compare(other.engine), { code: "INVALID_OPTION", message: /vocabulary/ });
  t.throws(compare(a.engine, 41, targets, new Float64Array(164)), {
    code: "INVALID_OPTION",
    message: /at most the 40/,
  });
  t.throws(compare(a.engine, 40, targets.subarray(1)), { code: "INVALID_OPTION", message: /at most the 39/ });
  t.throws(compare(a.engine, 1, Int32Array.of(320)), { code: "INVALID_OPTION", message: /ids\[0\].*320/ });
  t.throws(compare(a.engine, 1, Int32Array.of(-1)), { code: "INVALID_OPTION" });
  t.throws(compare(a.engine, 40, targets, new Float64Array(159)), { name: "TypeError", message: /out/ });
  t.throws(compare(1e6), { code: "DISPOSED" });
  for (const session of [a, b, other]) session.dispose();
  t.end();
});

function logSoftmax(logits: Float32Array): number[] {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return Array.from(logits, (logit) => logit - largest - Math.log(sum));
}

t.test("--against", async (t) => {
  const args = [
    "perplexity",
    "-m",
    tinyModel(),
    "--kv-type",
    "q8_0",
    "-c",
    "64",
    "some text of a few words ".repeat(9),
  ];
  const json = await runCli([...args, "--against", "exact", "--exact-tokens", "40", "--json"]);
  t.equal(json.code, 0, json.stderr);
  const found = JSON.parse(json.stdout);
  t.ok(found.kl_mean > 0 && found.kl_p99 >= found.kl_mean && found.top1_agreement > 0.9 && found.ppl_against > 1);
  t.match(found.buckets, [{ from: 0, to: 1024, tokens: found.scored, kl_mean: found.kl_mean, ppl: Number }]);
  const text = await runCli([...args, "--against", "exact"]);
  t.match(text, { code: 0, stdout: /^ppl .*\nfrom 0 to 1024: ppl .* exact, KL .*, top-1 .* %, \d+ tokens\n$/ });
  t.match(await runCli([...args, "--against", "f32"]), { code: 2, stderr: /against: expected "exact"/ });
  t.match(await runCli([...args, "--exact-tokens", "4"]), { code: 2, stderr: /exactTokens/ });
});
