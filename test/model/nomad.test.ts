// Lookup attention on SmolLM2 at a depth of about 1,500: an answer is a function of its request alone, says what was
// approximated, and stays near the exact one.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { calibrate, type GenerateResult, type LoadOptions, loadModel, type Model } from "../../dist/esm/index.js";
import { builtinText } from "../../dist/esm/calibration/index.js";
import { modelPath } from "../support/models.js";

const path = await modelPath("smollm2-135m-instruct");
const folder = t.testdir();
const codebooks = join(folder, "smollm2.codebooks");
const attention = { type: "nomad", codebooks } as const;
const common = { contextSize: 2048, maxSequences: 4, kvCacheTokens: 10_240, threads: 2 } as const;
const load = (options: LoadOptions = {}): Promise<Model> => loadModel(path, { ...common, attention, ...options });
const options = { temperature: 0, ignoreEos: true, logprobs: true, maxTokens: 36 } as const;

const answerOf = ({ tokens, logprobs, attention, timings }: GenerateResult) => ({
  tokens,
  logprobs: logprobs?.map(({ logprob }) => logprob),
  attention,
  approximations: timings.approximations,
});

let asks: number[][];
const alone: ReturnType<typeof answerOf>[] = [];

t.before(async () => {
  // Not the text the prompts are made of.
  const middle = Math.floor(builtinText.length / 2);
  const result = await calibrate(path, { text: builtinText.slice(0, middle), file: codebooks, threads: 2 });
  t.comment(`codebooks from ${result.tokens} tokens in ${(result.ms / 1000).toFixed(1)} s`);
  await using model = await load({ threads: 1, maxSequences: 1, speculation: "off" });
  const words = model.tokenize(builtinText);
  const from = (start: number, length: number) => words.slice(start, start + length);
  // Two share a beginning.
  asks = [from(0, 1500), [...from(0, 1060), ...from(2000, 30)], from(1500, 1120), from(1200, 1080)];
  for (const ask of asks) alone.push(answerOf(await model.generate(ask, { ...options, cachePrompt: false })));
});

t.test("what was approximated is said, and is near the exact answer", async (t) => {
  await using exact = await load({ attention: "exact" });
  for (const [i, ask] of asks.slice(0, 2).entries()) {
    const { kept, dropped } = alone[i]!.attention!;
    t.comment(`${alone[i]!.approximations}`);
    t.ok(kept > 0 && kept <= 0.9, `${kept}`);
    t.ok(dropped >= 0 && dropped < 0.5, `${dropped}`);
    // The exact model reads the approximate answer.
    const { logprobs } = await exact.perplexity([...ask, ...alone[i]!.tokens]);
    const read = [...logprobs.subarray(ask.length - 1)];
    const distance = read.reduce((sum, p, at) => sum + Math.abs(p - alone[i]!.logprobs![at]!), 0) / read.length;
    t.ok(distance < 0.1, `mean difference of log-probabilities: ${distance.toFixed(4)}`);
    t.equal(read[0]!.toFixed(4), alone[i]!.logprobs![0]!.toFixed(4), "the first token is exact");
  }
});

const settings: [string, LoadOptions, number?][] = [
  ["in a batch of four, two threads", {}],
  ["on one thread, with drafts from the text", { threads: 1, speculation: { drafters: ["suffix", "recycling"] } }],
  // Two that share no beginning begin with 35 and 34 pages and end with 37 and 35.
  [
    "with random drafts and few pages",
    { kvCacheTokens: 32 * 71, speculation: { drafters: ["chaos"], maxNodes: 4 } },
    2,
  ],
];
for (const [name, setting, from = 0] of settings) {
  t.test(`the same bits ${name}`, async (t) => {
    await using model = await load(setting);
    for (const round of ["computed", "from the cache"]) {
      const results = await Promise.all(asks.slice(from).map((ask) => model.generate(ask, options)));
      for (const [i, result] of results.entries())
        t.same(answerOf(result), alone[from + i], `${round}: request ${from + i}`);
    }
    const { preemptions, freePages, pages } = model.metrics();
    t.comment(`${preemptions} preemptions`);
    if (from > 0) t.ok(preemptions > 0, "pages ran out");
    t.equal(freePages, pages);
  });
}

t.test("a short prompt is exact, bit for bit", async (t) => {
  await using exact = await load({ attention: "exact" });
  await using model = await load();
  const answers = await Promise.all([exact, model].map((each) => each.generate(asks[0]!.slice(0, 600), options)));
  t.same(answerOf(answers[1]!), answerOf(answers[0]!));
  t.equal(answers[1]!.attention, undefined);
});

t.test("damaged codebooks: exact, with a warning", async (t) => {
  const bytes = readFileSync(codebooks);
  bytes[1000]! ^= 4;
  const damaged = join(folder, "damaged.codebooks");
  writeFileSync(damaged, bytes);
  await using model = await load({ attention: { type: "nomad", codebooks: damaged } });
  t.match(model.info, { attention: { type: "exact" }, warnings: [/wrong checksum/] });
  t.equal(model.metrics().attentionFallbacks, 1);
  t.same((await model.generate(asks[0]!, options)).timings.approximations, []);
});
