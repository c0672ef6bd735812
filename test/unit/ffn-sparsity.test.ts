// Activation sparsity through the public interface, on tiny models: what it leaves alone, that an answer is a function of its
// request, and what is told of it.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import {
  type FfnSparsityOptions,
  type GenerateResult,
  type LoadOptions,
  loadModel,
  type Model,
} from "../../dist/esm/index.js";
import type { ModelOptions } from "../support/gguf-model.js";
import { tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";

const sizes: ModelOptions = {
  nLayers: 2,
  dim: 128,
  nHeads: 4,
  nKvHeads: 2,
  headDim: 32,
  hiddenDim: 256,
  vocabSize: 512,
  contextLength: 1024,
  seed: 7,
};
const path = tinyModel({ ...sizes, type: "Q8_0" });
// Products are measured in the one test that leaves `matmul` to the machine.
const common = { contextSize: 512, maxSequences: 4, threads: 2, matmul: "dot" } as const;
const load = (ffnSparsity?: FfnSparsityOptions, options: LoadOptions = {}, file = path): Promise<Model> =>
  loadModel(file, { ...common, ...(ffnSparsity && { ffnSparsity }), ...options });

const promptOf = (length: number, seed = 0): number[] =>
  Array.from({ length }, (_, i) => 8 + ((Math.imul(i + seed + 1, 2654435761) >>> 16) % 480));
const greedy = { temperature: 0, ignoreEos: true, logprobs: true, maxTokens: 12 } as const;
/** Tokens, and log-probabilities whose bits follow from the logits'. */
const answerOf = ({ tokens, logprobs, sparsity, timings }: GenerateResult) => ({
  tokens,
  logprobs: logprobs?.map(({ logprob }) => logprob),
  sparsity,
  approximations: timings.approximations,
});
const logprobsOf = ({ logprobs }: GenerateResult) => logprobs!.map(({ logprob }) => logprob);

const kinds: FfnSparsityOptions[] = [
  { type: "teal", keep: 0.5 },
  { type: "teal", keep: 0.6, attention: true },
  { type: "wina", keep: 0.5, attention: true },
  { type: "wina", keep: 0.5, norms: "published" },
  { type: "cats", keep: 0.5 },
  { type: "dip", keep: 0.6, keepHidden: 0.5 },
  { type: "down-only", keep: 0.5 },
  { type: "random", keep: 0.5 },
  { type: "coreinfer", keep: 0.5, guard: 0 },
];
const nameOf = (kind: FfnSparsityOptions) => JSON.stringify(kind);

for (const architecture of ["llama", "gemma3"] as const) {
  t.test(`every kind: generated tokens are approximated, and say so (${architecture})`, async (t) => {
    const file = tinyModel({ ...sizes, nLayers: architecture === "gemma3" ? 6 : 2, architecture, type: "Q8_0" });
    await using dense = await load(undefined, {}, file);
    const exact = await dense.generate(promptOf(70), greedy);
    t.notOk("sparsity" in exact);
    t.same(exact.timings.approximations, []);
    for (const kind of kinds) {
      await using model = await load(kind, {}, file);
      t.match(model.info.ffnSparsity, kind);
      t.same(model.info.warnings, [], nameOf(kind));
      const result = await model.generate(promptOf(70), greedy);
      const [was, is] = [logprobsOf(exact), logprobsOf(result)];
      t.equal(is[0], was[0], `${nameOf(kind)}: the prompt's last row is exact`);
      t.not(is[1], was[1], `${nameOf(kind)}: the next is not`);
      const { kept, bytesPerToken, denseTokens, guarded } = result.sparsity!;
      t.ok(Math.abs(kept - kind.keep) < 0.12, `${nameOf(kind)}: ${kept}`);
      t.ok(bytesPerToken > 0 && bytesPerToken < dense.estimate().weightsBytes, `${bytesPerToken}`);
      t.same([denseTokens, guarded], [1, 0]);
      t.same(result.timings.approximations, [
        `ffn-sparsity ${kind.type}: ${(100 * kept).toFixed(1)} % of channels kept, ${(bytesPerToken / 1e6).toFixed(1)} MB of weights a token`,
      ]);
    }
  });
}

t.test("a share of 1 leaves every bit as it is", async (t) => {
  await using dense = await load();
  const exact = await dense.generate(promptOf(50), greedy);
  for (const kind of kinds.filter(({ type }) => type !== "coreinfer")) {
    const { keepHidden: _, ...rest } = kind;
    await using model = await load({ ...rest, keep: 1 });
    const result = await model.generate(promptOf(50), greedy);
    t.same(result.tokens, exact.tokens);
    t.same(logprobsOf(result), logprobsOf(exact), nameOf(kind));
  }
});

t.test("embeddings, and the first four positions of a text, are exact", async (t) => {
  await using dense = await load();
  await using model = await load({ type: "wina", keep: 0.4, attention: true });
  const text = promptOf(200);
  t.same((await model.embed([text])).vectors, (await dense.embed([text])).vectors);
  const [exact, sparse] = await Promise.all([dense.perplexity(text), model.perplexity(text)]);
  const rows = [...sparse!.logprobs].map((logprob, i) => logprob === exact!.logprobs[i]);
  t.same(rows.slice(0, 4), [true, true, true, true]);
  t.ok(rows.slice(4).filter((same) => !same).length > 150, "all others are sparse");
  t.notOk("sparsity" in exact!);
  t.equal(sparse!.sparsity?.denseTokens, 4);
  t.match(sparse!.approximations, [/^ffn-sparsity wina: /]);
});

t.test("an answer is its own: threads, company, drafts, cached prefixes and lost pages change no bit", async (t) => {
  const asks = [0, 1, 2, 3].map((i) => promptOf(60 + 25 * i, i < 2 ? 0 : i));
  const options = { ...greedy, maxTokens: 40 };
  for (const kind of [kinds[2]!, kinds[5]!, kinds[8]!]) {
    const alone: ReturnType<typeof answerOf>[] = [];
    {
      await using model = await load(kind, { threads: 1, speculation: "off", maxSequences: 1 });
      for (const ask of asks) alone.push(answerOf(await model.generate(ask, { ...options, cachePrompt: false })));
    }
    const settings: [string, LoadOptions][] = [
      ["together", { matmul: "auto" }],
      ["on two replicas, by table lookup", { replicas: 2, matmul: "lut", threads: 1 }],
      ["with chaotic drafts", { speculation: { drafters: ["chaos"], maxNodes: 12 } }],
      ["with drafts from the text", { speculation: { drafters: ["suffix", "recycling"] }, threads: 1 }],
      ["with too few pages", { contextSize: 256, kvCacheTokens: 32 * 10 }],
    ];
    for (const [name, setting] of settings) {
      await using model = await load(kind, setting);
      for (const round of ["first", "again"]) {
        const answers = await Promise.all(asks.map((ask) => model.generate(ask, options)));
        for (const [i, answer] of answers.entries())
          t.same(answerOf(answer), alone[i], `${kind.type} ${name}, ${round}: request ${i}`);
        if (kind.type === "coreinfer") t.same(new Set(answers.map(({ usage }) => usage.cachedTokens)), new Set([0]));
      }
      if (name === "with too few pages") t.ok(model.metrics().preemptions > 0, "pages ran out");
    }
  }
});

t.test("coreinfer's guard: a request it refuses is dense, and not approximated", async (t) => {
  await using dense = await load();
  await using model = await load({ type: "coreinfer", keep: 0.3, guard: 1 });
  const [exact, refused] = await Promise.all([dense, model].map((each) => each.generate(promptOf(90), greedy)));
  t.same(logprobsOf(refused!), logprobsOf(exact!));
  t.same(refused!.sparsity, { kept: 1, bytesPerToken: 0, denseTokens: 12, guarded: 11 });
  t.same(refused!.timings.approximations, []);
});

t.test("perplexity beside exact computation", async (t) => {
  const text = promptOf(300);
  for (const kind of kinds) {
    await using model = await load(kind);
    const { against, sparsity, approximations } = await model.perplexity(text, { against: "exact", exactTokens: 40 });
    t.ok(against!.klMean > 0, `${nameOf(kind)}: ${against!.klMean}`);
    t.ok(Math.abs(against!.sparsity!.kept - kind.keep) < 0.12);
    t.same(
      against!.buckets.map((bucket) => bucket.sparsity),
      [against!.sparsity],
      "all in the first bucket",
    );
    t.same(sparsity, against!.sparsity);
    t.match(approximations, [new RegExp(`^ffn-sparsity ${kind.type}: `)]);
  }
  await using whole = await load({ type: "teal", keep: 1 });
  t.equal((await whole.perplexity(text, { against: "exact" })).against!.klMean, 0);
});

t.test("weights without columns: one warning, and the same masks", async (t) => {
  const type = (name: string) => (name.includes("ffn_down") ? "F32" : "Q8_0");
  await using model = await load({ type: "teal", keep: 0.5 }, {}, tinyModel({ ...sizes, dim: 256, type, seed: 9 }));
  t.match(model.info.warnings, [/^ffnSparsity: no columns of ffn_down \(F32, 2 layers\): /]);
  const { sparsity } = await model.generate(promptOf(40), greedy);
  t.ok(sparsity!.kept < 0.62, `${sparsity!.kept}`);
});

t.test("nothing stays in memory", async (t) => {
  const before = binding.counters();
  const model = await load({ type: "wina", keep: 0.5 });
  await model.perplexity(promptOf(60), { against: "exact" });
  await model.generate(promptOf(30), greedy);
  await model.dispose();
  t.same(binding.counters(), before);
});

t.test("the command line", async (t) => {
  const sparse = ["--ffn-sparsity", "dip:0.5,keepHidden=0.4", "--json"];
  const run = await runCli(["generate", "-m", path, "-n", "6", "--temp", "0", ...sparse, "some words"]);
  t.equal(run.code, 0, run.stderr);
  const result = JSON.parse(run.stdout) as { timings: { approximations: string[] } };
  t.match(result, { sparsity: { kept: Number, bytes_per_token: Number, dense_tokens: 1, guarded: 0 } });
  t.match(result.timings.approximations, [/^ffn-sparsity dip: /]);
  const scored = await runCli(["perplexity", "-m", path, "--against", "exact", ...sparse, "a text that is scored"]);
  t.equal(scored.code, 0, scored.stderr);
  const stats = { kept: Number, bytes_per_token: Number };
  t.match(JSON.parse(scored.stdout), { sparsity: stats, buckets: [{ sparsity: stats }] });
  const bench = await runCli(["bench", "-m", path, "-p", "8", "-n", "128", "-b", "2", "-r", "1", ...sparse]);
  t.equal(bench.code, 0, bench.stderr);
  const [pp, tg] = JSON.parse(bench.stdout) as Record<string, unknown>[];
  t.notOk("ffn_sparsity" in pp!);
  t.match(tg, { ffn_sparsity: "dip 0.50", realised_kept: Number, bytes_per_token: Number, selection_share: Number });
  const share = tg!["selection_share"] as number;
  t.ok(share > 0 && share < 1, `${share}`);
  const env = { LUTRA_FFN_SPARSITY: "teal:2" };
  const refused = await runCli(["generate", "-m", path, "x"], { env });
  t.equal(refused.code, 2);
  t.match(refused.stderr, /ffnSparsity.keep: expected a number in \(0, 1\], got 2/);
});
