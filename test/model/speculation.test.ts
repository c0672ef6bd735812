// Speculation changes nothing: tokens, text and log-probabilities are those of plain decoding, bit for bit, whoever drafts,
// alone or beside others, with one thread or two. LUTRA_SPECULATION_PROMPTS sets how many prompts are asked (default 6; from
// 50 on, in every combination).
import t, { type Test } from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import {
  type GenerateOptions,
  type GenerateResult,
  type LoadOptions,
  loadModel,
  type Model,
} from "../../dist/esm/index.js";
import { modelPath, type RealModelName } from "../support/models.js";
import { readSharedLines } from "../support/shared-data.js";

const count = Number(process.env.LUTRA_SPECULATION_PROMPTS ?? 6);
/** Every combination, as the issue of speculation was closed with; CI asks a part of it. */
const isFull = count >= 50;
const tokens = isFull ? 24 : 40;
const longest = isFull ? 400 : 1500;

const code = `function total(items) {
  let sum = 0;
  for (const item of items) {
    sum += item.price * item.count;
  }
  return sum;
}
`;
const builtIn = [
  `Repeat this code exactly:\n${code}\nThe code again:\n${code.slice(0, 20)}`,
  "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over",
  "one two three four five six seven eight nine ten one two three",
  "The capital of France is",
];

interface Ask {
  prompt: string;
  options: GenerateOptions;
}

/** Every second one sampled, with whatever else depends on the text so far. */
function createAsks(): Ask[] {
  const texts = readSharedLines("spec-bench-half.jsonl").map(({ turns }) => (turns as string[])[0]!);
  const sums = readSharedLines("gsm8k-100.jsonl").map(({ question }) => question as string);
  const shared = [...texts, ...sums].filter((text) => text.length < longest);
  const step = Math.max(1, Math.floor(shared.length / Math.max(1, count - builtIn.length)));
  const prompts = [...builtIn, ...shared.filter((_, i) => i % step === 0)].slice(0, count);
  const sampled: GenerateOptions[] = [
    { temperature: 0.7, topK: 40 },
    { temperature: 1, topK: 0, topP: 0.9, minP: 0, repeatPenalty: 1.2, presencePenalty: 0.3 },
    { temperature: 0.5, frequencyPenalty: 0.2, logitBias: { 11: -1, 13: 2 }, stop: ["\n\n", "the end"] },
    { temperature: 0.9, typicalP: 0.8, logprobs: 3 },
  ];
  return prompts.map((prompt, i) => {
    const options = i % 2 === 0 ? { temperature: 0 } : { ...sampled[(i >> 1) % sampled.length], seed: i };
    return { prompt, options: { maxTokens: tokens, ...options } };
  });
}

const load = { contextSize: 1024, maxSequences: 4, threads: 2 };

const answerOf = ({ text, tokens, finishReason, logprobs }: GenerateResult) => ({
  text,
  tokens,
  finishReason,
  logprobs,
});

async function answer(model: Model, asks: Ask[], atOnce: number): Promise<GenerateResult[]> {
  const results: GenerateResult[] = [];
  let next = 0;
  const client = async () => {
    for (let i = next++; i < asks.length; i = next++) {
      results[i] = await model.generate(asks[i]!.prompt, asks[i]!.options);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return results;
}

const drafters = ["suffix", "recycling", "reader", "jacobi", "chaos"] as const;
const kinds: [string, LoadOptions["speculation"]][] = [
  ["auto", "auto"],
  ...drafters.map((name): [string, LoadOptions["speculation"]] => [name, { drafters: [name] }]),
  ["shared texts", { shareTexts: true }],
  ["all and chaos, 63 nodes", { drafters: [...drafters], maxNodes: 63 }],
];

async function check(t: Test, name: RealModelName): Promise<void> {
  const path = await modelPath(name);
  const asks = createAsks();
  let plain: GenerateResult[];
  {
    await using model = await loadModel(path, { ...load, speculation: "off" });
    plain = await answer(model, asks, 1);
  }
  for (const { speculation } of plain) t.same(speculation.steps, 0, "off says nothing");
  for (const [i, [label, speculation]] of kinds.entries()) {
    for (const atOnce of isFull ? [1, 4] : [i % 2 === 0 ? 4 : 1]) {
      for (const n of isFull ? [1, 2] : [2]) {
        await using model = await loadModel(path, { ...load, speculation, threads: n });
        const results = await answer(model, asks, atOnce);
        const different = results.flatMap((result, p) =>
          JSON.stringify(answerOf(result)) === JSON.stringify(answerOf(plain[p]!)) ? [] : [p],
        );
        t.same(different, [], `${name}, ${label}, ${atOnce} at once, ${n} threads: prompts that differ`);
        const drafted = results.reduce((sum, each) => sum + each.speculation.drafted, 0);
        const accepted = results.reduce((sum, each) => sum + each.speculation.accepted, 0);
        t.comment(`${drafted} tokens drafted, ${accepted} right`);
        if (label.includes("chaos")) t.ok(drafted > 10 * asks.length && accepted > 0, "drafts were verified");
      }
    }
  }
}

const options = { timeout: isFull ? 7_200_000 : 240_000 };

/** The share of its drafts that came true, with all of them verified. */
async function draftForItself(t: Test, asks: Ask[], plain: GenerateResult[], keep: number): Promise<number> {
  const speculation: LoadOptions["speculation"] = {
    drafters: ["draft", "chaos"],
    draftSparsity: { type: "teal", keep },
  };
  await using model = await loadModel(await modelPath("smollm2-135m-instruct"), { ...load, speculation });
  const results = await answer(model, asks, 2);
  t.same(results.map(answerOf), plain.map(answerOf), `keep ${keep}`);
  const stats = results.map(({ speculation: { perDrafter } }) => perDrafter["draft"]!);
  const drafted = stats.reduce((sum, each) => sum + each.drafted, 0);
  const accepted = stats.reduce((sum, each) => sum + each.accepted, 0);
  t.ok(drafted > 10 * asks.length, `${drafted} drafted`);
  t.comment(`keep ${keep}: ${accepted} of ${drafted} tokens drafted were right`);
  return accepted / drafted;
}

t.test("SmolLM2 drafts for itself with fewer channels, on one copy of its weights", options, async (t) => {
  const path = await modelPath("smollm2-135m-instruct");
  const asks = createAsks().map(({ prompt, options }) => ({ prompt, options: { logprobs: true, ...options } }));
  let plain: GenerateResult[];
  {
    await using model = await loadModel(path, { ...load, speculation: "off" });
    plain = await answer(model, asks, 1);
  }
  const shares: number[] = [];
  for (const keep of [0.75, 0.6, 0.3]) shares.push(await draftForItself(t, asks, plain, keep));
  t.ok(shares[0]! > 0.7 && shares[1]! > 0.5, "what is left out matters little");
  t.ok(shares[0]! > shares[1]! && shares[1]! > shares[2]!, "and the more, the more");

  // The same columns, so that what is left is the engine that drafts.
  const teal = { type: "teal", keep: 0.6 } as const;
  const bytesOf = async (options: LoadOptions): Promise<{ bytes: number; engines: number; weights: number }> => {
    await using model = await loadModel(path, { ...load, contextSize: 256, ...options });
    const { bytes, engines } = binding.counters();
    return { bytes, engines, weights: model.info.fileBytes };
  };
  const sparse = await bytesOf({ ffnSparsity: teal, speculation: "off" });
  const self = await bytesOf({ speculation: { draftSparsity: teal } });
  t.same([sparse.engines, self.engines], [1, 2]);
  const more = self.bytes - sparse.bytes;
  t.ok(more < 0.5 * self.weights, `${more} bytes beside ${self.weights} of weights`);
});

t.test("SmolLM2", options, (t) => check(t, "smollm2-135m-instruct"));
t.test("Gemma, whose layers slide", options, (t) => check(t, "gemma-3-270m"));
