// Requests that arrive, end and share prefixes at random give, token by token and bit by bit, what each gives alone.
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { type GenerateOptions, type GenerateResult, loadModel, type Model } from "../../dist/esm/index.js";
import { modelPath, type RealModelName } from "../support/models.js";
import { seeded } from "../support/seeded.js";

interface Ask {
  prompt: number[];
  options: GenerateOptions;
}

/** Tokens and the log-probability of each, whose bits follow from the logits'. */
const answerOf = ({ tokens, logprobs }: GenerateResult) => ({
  tokens,
  logprobs: logprobs?.map(({ logprob }) => logprob),
});

/** Prompts that share beginnings of any length with each other, and some that share nothing. */
function createAsks(model: Model, count: number, longest: number, random: (below: number) => number): Ask[] {
  const text =
    "The quick brown fox jumps over the lazy dog while the sun sets behind the old mill by the river. ".repeat(40);
  const words = model.tokenize(text, { addSpecial: true });
  return Array.from({ length: count }, (_, i) => {
    const shared = 1 + random(longest - 8);
    const own = random(4) === 0 ? [] : Array.from({ length: 1 + random(7) }, () => 100 + random(2000));
    const prompt = random(5) === 0 ? own.concat(words[1]!) : words.slice(0, shared).concat(own);
    const sampled = random(2) === 0 ? { temperature: 0 } : { temperature: 0.9, seed: i, topK: 40, repeatPenalty: 1.1 };
    return { prompt, options: { ...sampled, maxTokens: 1 + random(24), ignoreEos: true, logprobs: true } };
  });
}

async function checkModel(t: Test, name: RealModelName, contextSize: number, count: number): Promise<void> {
  const path = await modelPath(name);
  const random = seeded(8);
  // Alone: one at a time, and every position computed.
  const alone: ReturnType<typeof answerOf>[] = [];
  let asks: Ask[];
  {
    await using model = await loadModel(path, { contextSize, maxSequences: 1, threads: 1 });
    asks = createAsks(model, count, contextSize - 32, random);
    for (const { prompt, options } of asks) {
      const result = await model.generate(prompt, { ...options, cachePrompt: false });
      t.equal(result.usage.cachedTokens, 0);
      alone.push(answerOf(result));
    }
  }
  // Together: more requests than sequences, fewer pages than they would like.
  await using model = await loadModel(path, {
    contextSize,
    maxSequences: 5,
    kvCacheTokens: 2 * contextSize,
    threads: 2,
  });
  let aborted = 0;
  const answers = await Promise.all(
    asks.map(async ({ prompt, options }) => {
      await sleep(random(60 * count) / 4);
      const controller = new AbortController();
      const noise =
        random(3) === 0
          ? model.generate(prompt, { maxTokens: 500, ignoreEos: true, signal: controller.signal })
          : undefined;
      noise?.catch(() => aborted++);
      if (noise !== undefined) setTimeout(() => controller.abort(), random(300));
      const result = await model.generate(prompt, { ...options, priority: random(3) });
      await noise?.catch(() => {});
      return result;
    }),
  );
  for (const [i, result] of answers.entries()) t.same(answerOf(result), alone[i], `request ${i}`);
  const { preemptions, freePages, pages, running } = model.metrics();
  const cached = answers.reduce((sum, { usage }) => sum + usage.cachedTokens, 0);
  t.comment(`${name}: ${cached} tokens from the cache, ${preemptions} preemptions, ${aborted} aborted`);
  t.ok(cached > 0, "prefixes were shared");
  t.ok(preemptions > 0, "pages ran out");
  t.equal(running, 0);
  t.equal(freePages, pages, "every page can be had again");
}

t.test("SmolLM2", (t) => checkModel(t, "smollm2-135m-instruct", 256, 30));
t.test("Gemma, whose layers slide", (t) => checkModel(t, "gemma-3-270m", 704, 12));

t.test("Eight sequences on one prefix of 1,024 tokens hold at most 1.25 times the pages of one", async (t) => {
  const path = await modelPath("smollm2-135m-instruct");
  await using model = await loadModel(path, { contextSize: 1280, maxSequences: 8, threads: 2 });
  const prefix = model.tokenize("The miller told the story of the river once more. ".repeat(120)).slice(0, 1024);
  let mostHeld = 0;
  const ask = async (own: number) => {
    const options = { temperature: 0, ignoreEos: true, maxTokens: 24 };
    for await (const _ of model.generate([...prefix, 100 + own, 200, 300, 400], options)) {
      const { pages, freePages } = model.metrics();
      mostHeld = Math.max(mostHeld, pages - freePages);
    }
  };
  await ask(0);
  const one = mostHeld;
  await Promise.all(Array.from({ length: 8 }, (_, i) => ask(i + 1)));
  t.comment(`one holds ${one} pages, eight ${mostHeld}`);
  t.ok(one >= 33, "the prefix and its own");
  t.ok(mostHeld >= one + 7, "all eight ran together");
  t.ok(mostHeld <= 1.25 * one);
});
