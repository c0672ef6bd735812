// Activation sparsity on SmolLM2: it leaves prompts alone, an answer is a function of its request alone, and what ranks channels is
// worth something: random channels are far worse.
import t from "tap";
import { builtinText } from "../../dist/esm/calibration/index.js";
import {
  type FfnSparsityOptions,
  type GenerateResult,
  type LoadOptions,
  loadModel,
  type Model,
} from "../../dist/esm/index.js";
import { modelPath } from "../support/models.js";

const path = await modelPath("smollm2-135m-instruct");
const common = { contextSize: 1024, maxSequences: 4, threads: 2 } as const;
const load = (ffnSparsity?: FfnSparsityOptions, options: LoadOptions = {}): Promise<Model> =>
  loadModel(path, { ...common, ...(ffnSparsity && { ffnSparsity }), ...options });
const options = { temperature: 0, ignoreEos: true, logprobs: true, maxTokens: 24 } as const;
const answerOf = ({ tokens, logprobs, sparsity, timings }: GenerateResult) => ({
  tokens,
  logprobs: logprobs?.map(({ logprob }) => logprob),
  sparsity,
  approximations: timings.approximations,
});

let asks: number[][];
const exact: ReturnType<typeof answerOf>[] = [];

t.before(async () => {
  await using model = await load();
  const words = model.tokenize(builtinText);
  asks = [0, 1, 2, 3].map((i) => words.slice(300 * i, 300 * i + 120 + 40 * i));
  for (const ask of asks) exact.push(answerOf(await model.generate(ask, options)));
});

t.test("a share of 1 gives the tokens and log-probabilities of whole weights", async (t) => {
  for (const type of ["teal", "wina", "cats", "dip", "down-only"] as const) {
    await using model = await load({ type, keep: 1 });
    const { tokens, logprobs } = answerOf(await model.generate(asks[0]!, options));
    t.same({ tokens, logprobs }, { tokens: exact[0]!.tokens, logprobs: exact[0]!.logprobs }, type);
  }
});

for (const kind of [
  { type: "wina", keep: 0.5 },
  { type: "coreinfer", keep: 0.5, guard: 0 },
] as const) {
  t.test(`${kind.type}: alone, in a batch of four and with drafts, the same bits`, async (t) => {
    const alone: ReturnType<typeof answerOf>[] = [];
    {
      await using model = await load(kind, { threads: 1, maxSequences: 1, speculation: "off" });
      for (const ask of asks) alone.push(answerOf(await model.generate(ask, options)));
    }
    for (const [i, { logprobs, sparsity, approximations }] of alone.entries()) {
      t.equal(logprobs![0], exact[i]!.logprobs![0], "the prompt is exact");
      t.not(logprobs![1], exact[i]!.logprobs![1]);
      t.ok(sparsity!.kept > 0.4 && sparsity!.kept < 0.6, `${sparsity!.kept}`);
      t.match(approximations, [
        new RegExp(`^ffn-sparsity ${kind.type}: \\d+\\.\\d % of channels kept, \\d+\\.\\d MB of weights a token$`),
      ]);
    }
    for (const speculation of ["off", { drafters: ["chaos"], maxNodes: 6 }] as const) {
      await using model = await load(kind, { speculation } as LoadOptions);
      const together = await Promise.all(asks.map((ask) => model.generate(ask, options)));
      for (const [i, result] of together.entries()) t.same(answerOf(result), alone[i], `request ${i}`);
    }
  });
}

t.test("what ranks channels is worth something", async (t) => {
  const text = builtinText.slice(0, 4000);
  const pplOf = async (kind: FfnSparsityOptions | undefined): Promise<number> => {
    await using model = await load(kind);
    return (await model.perplexity(text)).ppl;
  };
  const dense = await pplOf(undefined);
  const ranked = await pplOf({ type: "down-only", keep: 0.5 });
  const random = await pplOf({ type: "random", keep: 0.5 });
  t.comment(`perplexity: ${dense.toFixed(2)}, by magnitude ${ranked.toFixed(2)}, at random ${random.toFixed(2)}`);
  t.ok(ranked < 1.3 * dense);
  t.ok(random > 2 * ranked);
});

t.test("a prompt is exact: embeddings and first tokens", async (t) => {
  await using dense = await load();
  await using model = await load({ type: "teal", keep: 0.3, attention: true });
  t.same((await model.embed(asks)).vectors, (await dense.embed(asks)).vectors);
  const first = await Promise.all(asks.map((ask) => model.generate(ask, { ...options, maxTokens: 1 })));
  for (const [i, result] of first.entries()) {
    t.equal(result.logprobs![0]!.logprob, exact[i]!.logprobs![0]);
    t.same(result.timings.approximations, []);
  }
});
