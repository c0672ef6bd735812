// Speculation on tiny models, at the edges: a full context, an end of text inside a draft, stop strings, aborts, few pages, a
// model that drafts, and options that are wrong. test/model/speculation.test.ts has the real models.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import {
  type FfnSparsityOptions,
  type GenerateOptions,
  type GenerateResult,
  type LoadOptions,
  loadModel,
  type Model,
} from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";
import { seeded } from "../support/seeded.js";

const everything = { drafters: ["suffix", "recycling", "reader", "jacobi", "chaos"] as const, maxNodes: 40 };
const speculation = { ...everything, drafters: [...everything.drafters] };
const eos = 2;
const greedy = { temperature: 0, ignoreEos: true };

const answerOf = ({ text, tokens, finishReason, logprobs, usage }: GenerateResult) => ({
  ...{ text, tokens, finishReason, logprobs },
  completion: usage.completionTokens,
});

/** The same request with and without drafts. */
async function compare(prompts: number[][], optionsOf: (i: number) => GenerateOptions, load = {}) {
  const common = { contextSize: 128, maxSequences: 4, threads: 2, ...load };
  await using plain = await loadModel(tinyModel(), { ...common, speculation: "off" });
  await using drafting = await loadModel(tinyModel(), { ...common, speculation });
  const ask = (model: Model) => Promise.all(prompts.map((prompt, i) => model.generate(prompt, optionsOf(i))));
  const [expected, found] = [await ask(plain), await ask(drafting)];
  t.same(found.map(answerOf), expected.map(answerOf));
  return { found, metrics: drafting.metrics() };
}

const pattern = (length: number, period: number): number[] => Array.from({ length }, (_, i) => 10 + ((i * 7) % period));

t.test("up to the last position of the context", async (t) => {
  const prompts = [100, 120, 126, 127, 128].map((length) => pattern(length, 9));
  const { found } = await compare(prompts, () => greedy);
  t.same(
    found.map(({ finishReason, tokens }, i) => [finishReason, tokens.length + prompts[i]!.length]),
    prompts.map(() => ["length", 129]),
    "the last token needs no position",
  );
  t.ok(found.reduce((sum, each) => sum + each.speculation.accepted, 0) > 0);
});

t.test("an end of text inside a draft ends the text", async (t) => {
  // The text holds the end, so drafts do; the bias makes it likely.
  const prompts = Array.from({ length: 40 }, (_, i) => pattern(30, 5 + i).map((id, at) => (at % 4 === 3 ? eos : id)));
  const { found } = await compare(prompts, (i) => ({
    temperature: 2,
    topK: 0,
    seed: i,
    maxTokens: 60,
    logitBias: { [eos]: 4 },
  }));
  const ended = found.filter(({ finishReason }) => finishReason === "stop").length;
  t.ok(ended > 10 && ended <= 40, `${ended} of 40 ended by themselves`);
});

t.test("stop strings, token limits and penalties see tokens one by one", async () => {
  const prompts = Array.from({ length: 16 }, (_, i) => pattern(20, 3 + i));
  await compare(prompts, (i) => ({
    temperature: i % 2,
    seed: i,
    maxTokens: 1 + i * 3,
    repeatPenalty: 1.3,
    repeatLastN: 8,
    frequencyPenalty: 0.4,
    stop: ["e", "0"],
    logprobs: 2,
    ignoreEos: true,
  }));
});

t.test("pages that run out: branches are left out, sequences make room, answers stay", async (t) => {
  const prompts = Array.from({ length: 12 }, (_, i) => pattern(20 + 5 * i, 4 + (i % 3)));
  // Whether two requests meet is up to the threads; on a busy machine one may end before the next has come.
  let preemptions = 0;
  for (let round = 0; round < 20 && preemptions === 0; round++) {
    const { metrics } = await compare(prompts, () => ({ ...greedy, maxTokens: 40 }), { kvCacheTokens: 160 });
    t.equal(metrics.freePages, metrics.pages);
    preemptions += metrics.preemptions;
  }
  t.ok(preemptions > 0);
});

t.test("aborted in the middle of verification", async (t) => {
  // More text than the fastest machine writes in 40 ms.
  const contextSize = 8192;
  await using model = await loadModel(tinyModel({ contextLength: contextSize }), { contextSize, speculation });
  for (let ms = 0; ms < 40; ms++) {
    const signal = AbortSignal.timeout(ms);
    const aborted = model.generate(pattern(40, 6), { ...greedy, signal, maxTokens: 8000 }).then();
    await t.rejects(aborted, { code: "ABORTED" });
  }
  t.match(model.metrics(), { running: 0, freePages: model.metrics().pages });
});

t.test(
  "a model that drafts: its own double is always right, greedy or not; another vocabulary is refused",
  async (t) => {
    const path = tinyModel();
    const ask = async (model: Model): Promise<GenerateResult[]> => {
      const hot = { temperature: 1, seed: 5, ignoreEos: true };
      const asks = [greedy, hot, greedy, hot, greedy, hot].map((options, i) =>
        model.generate(pattern(12 + i, 5), { ...options, maxTokens: 40 }),
      );
      return Promise.all(asks);
    };
    await using plain = await loadModel(path, { speculation: "off", contextSize: 128 });
    // Alone, and with chaos, which has everything verified.
    await using drafting = await loadModel(path, {
      contextSize: 128,
      speculation: { drafters: ["draft", "chaos"], draftModel: path, maxNodes: 40 },
    });
    await using alone = await loadModel(path, {
      contextSize: 128,
      speculation: { drafters: ["draft"], draftModel: path },
    });
    const [expected, found] = [await ask(plain), await ask(drafting)];
    t.same(found.map(answerOf), expected.map(answerOf));
    t.same((await ask(alone)).map(answerOf), expected.map(answerOf));
    const stats = found.map((each) => each.speculation.perDrafter["draft"]!);
    const [drafted, accepted] = (["drafted", "accepted"] as const).map((name) =>
      stats.reduce((sum, each) => sum + each[name], 0),
    );
    // A draft may reach beyond the last token.
    t.ok(drafted! > 60 && accepted! >= drafted! - found.length, `${accepted} of ${drafted}`);
    const other = tinyModel({ vocabSize: 400 });
    await t.rejects(loadModel(path, { speculation: { draftModel: other } }), {
      code: "INVALID_OPTION",
      message: /speculation.draftModel: expected a model with the vocabulary .* 320 tokens; .* has 400/,
    });
    await t.rejects(loadModel(path, { speculation: { draftModel: "/nowhere.gguf" } }), { name: "ModelFileError" });
  },
);

const self: Partial<Record<FfnSparsityOptions["type"], FfnSparsityOptions>> = {
  teal: { type: "teal", keep: 0.3 },
  wina: { type: "wina", keep: 0.3, attention: true },
  cats: { type: "cats", keep: 0.1 },
  random: { type: "random", keep: 0.1 },
  coreinfer: { type: "coreinfer", keep: 0.1, guard: 0 },
};

t.test("a model that drafts for itself with fewer channels: answers are its own, whatever it keeps", async (t) => {
  const small = { nLayers: 2, dim: 128, nHeads: 4, nKvHeads: 2, headDim: 32, hiddenDim: 256, vocabSize: 512, seed: 7 };
  const path = tinyModel({ ...small, contextLength: 1024, type: "Q8_0" });
  const load = { contextSize: 512, maxSequences: 4, threads: 2, matmul: "dot" } as const;
  const ask = (model: Model): Promise<GenerateResult[]> =>
    Promise.all(
      // Longer than a step of the draft's engine, and shorter.
      [300, 30, 45, 60].map((length, i) =>
        model.generate(pattern(length, 5 + i), {
          ...{ temperature: i % 2, seed: i, topK: 5, ignoreEos: true, maxTokens: 40, logprobs: 2 },
        }),
      ),
    );
  const before = binding.counters();
  const drafted = async (options: LoadOptions): Promise<{ found: unknown; shares: number[]; misses: number }> => {
    await using model = await loadModel(path, { ...load, ...options });
    t.same(model.info.warnings, []);
    t.equal(model.info.ffnSparsity, false);
    const results = await ask(model);
    for (const result of results) {
      t.same(result.timings.approximations, [], "what is told is not approximated");
      t.notOk("sparsity" in result);
    }
    const stats = results.map((each) => each.speculation.perDrafter["draft"] ?? { drafted: 0, accepted: 0 });
    return {
      found: results.map(answerOf),
      shares: stats.map((each) => each.accepted / each.drafted),
      // A draft may reach beyond the last token.
      misses: stats.reduce((sum, each) => sum + each.drafted - each.accepted - 1, 0),
    };
  };
  const plain = await drafted({ speculation: "off" });
  for (const [name, kind] of Object.entries(self)) {
    for (const keep of [kind.keep, 1]) {
      const draftSparsity = { ...kind, keep };
      const { found, shares, misses } = await drafted({
        speculation: { drafters: ["draft", "chaos"], draftSparsity, maxNodes: 40 },
      });
      t.same(found, plain.found, `${name} ${keep}`);
      if (keep === 1) t.ok(misses <= 0, `${name}: all channels are always right, ${shares.join(" ")}`);
      else t.ok(misses > 0 && shares.some((share) => share > 0), `${name}: fewer are not, ${shares.join(" ")}`);
    }
  }
  const alone = { drafters: ["draft" as const], draftSparsity: self.teal! };
  t.same((await drafted({ speculation: alone, replicas: 2 })).found, plain.found);
  t.same(binding.counters(), before, "nothing stays in memory");
});

t.test("a sparse model drafts for itself with other channels; tensors without columns are named", async (t) => {
  const path = tinyModel({ dim: 64, headDim: 32, hiddenDim: 64, vocabSize: 320, type: "Q8_0" });
  const ffnSparsity = { type: "down-only", keep: 0.6 } as const;
  const load = { contextSize: 128, matmul: "dot", ffnSparsity } as const;
  const draftSparsity = { type: "teal", keep: 0.4 } as const;
  await using plain = await loadModel(path, { ...load, speculation: "off" });
  const speculation = { drafters: ["draft" as const, "chaos" as const], draftSparsity };
  await using drafting = await loadModel(path, { ...load, speculation });
  const [expected, found] = await Promise.all(
    [plain, drafting].map((model) => model.generate(pattern(20, 5), { ...greedy, maxTokens: 30, logprobs: 1 })),
  );
  t.same(answerOf(found!), answerOf(expected!));
  t.same(found!.sparsity, expected!.sparsity);
  await using whole = await loadModel(tinyModel({ type: "F32" }), { speculation: { draftSparsity } });
  t.match(whole.info.warnings, [/^speculation.draftSparsity: no columns of .*ffn_gate \(F32/]);
});

t.test("shared texts: a prompt asked again is answered in fewer steps, with the same tokens", async (t) => {
  const found: number[][] = [];
  for (const shareTexts of [true, false]) {
    // Random drafts too, so that all is verified however little a tiny model's rows pay.
    const speculation = { drafters: ["reader" as const, "chaos" as const], shareTexts };
    await using model = await loadModel(tinyModel(), { contextSize: 256, speculation });
    const below = seeded(3);
    const prompt = Array.from({ length: 40 }, () => 10 + below(200));
    const options = { temperature: 1, seed: 4, topK: 0, ignoreEos: true, maxTokens: 60 };
    const [first, second] = [await model.generate(prompt, options), await model.generate(prompt, options)];
    t.same(second.tokens, first.tokens);
    found.push(second.tokens);
    const { accepted } = second.speculation.perDrafter["reader"]!;
    t.equal(accepted > 20, shareTexts, `${accepted} of its drafts came true`);
  }
  t.same(found[0], found[1]);
});

t.test("wrong options are named", async (t) => {
  const teal = { type: "teal", keep: 0.6 };
  const wrong: [unknown, RegExp][] = [
    [
      "on",
      /speculation: expected "auto", "off" or \{ drafters, draftModel, draftSparsity, maxNodes, shareTexts \}, got "on"/,
    ],
    [{ drafters: [] }, /speculation.drafters: expected a list of "suffix"/],
    [{ drafters: ["suffix", "sufix"] }, /speculation.drafters\[1\]: expected one of .*got "sufix"/],
    [{ drafters: ["draft"] }, /expected draftModel or draftSparsity and the drafter "draft" together, got neither/],
    [{ drafters: ["suffix"], draftModel: "x" }, /and the drafter "draft" together, got draftModel "x"/],
    [{ drafters: ["suffix"], draftSparsity: teal }, /and the drafter "draft" together, got draftSparsity/],
    [{ drafters: ["draft"], draftSparsity: false }, /and the drafter "draft" together, got neither/],
    [
      { draftModel: "x", draftSparsity: teal },
      /speculation.draftSparsity: expected nothing beside draftModel, which drafts, got an object/,
    ],
    [{ draftSparsity: "teal" }, /speculation.draftSparsity: expected false or \{ type: .*got "teal"/],
    [{ draftSparsity: { type: "relu", keep: 1 } }, /speculation.draftSparsity.type: expected .*got "relu"/],
    [
      { draftSparsity: { type: "teal", keep: 0 } },
      /speculation.draftSparsity.keep: expected a number in \(0, 1\], got 0/,
    ],
    [
      { draftSparsity: { ...teal, guard: 0.5 } },
      /speculation.draftSparsity.guard is an option of coreinfer, not of teal/,
    ],
    [{ draftSparsity: { ...teal, kep: 0.5 } }, /speculation.draftSparsity.kep is not an option; did you mean "keep"/],
    [
      { draftSparsity: { ...teal, calibration: "/nowhere.json" } },
      /speculation.draftSparsity.calibration: .*nowhere.json/,
    ],
    [{ draftModel: "" }, /speculation.draftModel: expected a name, a path/],
    [{ maxNodes: 0 }, /speculation.maxNodes: expected an integer in \[1, 63\], got 0/],
    [{ maxNodes: 64 }, /speculation.maxNodes/],
    [{ shareTexts: 1 }, /speculation.shareTexts: expected true or false, got 1/],
    [{ drafters: ["suffix"], shareTexts: true }, /speculation.shareTexts: expected the drafter "reader"/],
    [{ maxnodes: 4 }, /speculation.maxnodes is not an option; did you mean "maxNodes"/],
  ];
  for (const [value, message] of wrong) {
    await t.rejects(loadModel(tinyModel(), { speculation: value as "auto" }), { code: "INVALID_OPTION", message });
  }
  const { code, stderr } = await runCli(["generate", "-m", tinyModel(), "--speculation", "suffix,x", "hello"]);
  t.equal(code, 2, stderr);
  t.match(stderr, /speculation.drafters\[1\]/);
  const self = ["--speculation", "suffix", "--draft-sparsity"];
  t.match(await runCli(["generate", "-m", tinyModel(), ...self, "wina:2", "hello"]), {
    code: 2,
    stderr: /speculation.draftSparsity.keep: expected a number in \(0, 1\], got 2/,
  });
  const run = ["generate", "-m", tinyModel(), "-n", "4", "--json", "hello"];
  const [drafting, off] = [await runCli([...run, ...self, "teal:0.5"]), await runCli([...run, ...self, "off"])];
  t.ok("draft" in JSON.parse(drafting.stdout).speculation.per_drafter, drafting.stderr);
  t.notOk("draft" in JSON.parse(off.stdout).speculation.per_drafter, off.stderr);
});

t.test("what the statistics say", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 512, speculation });
  const { speculation: stats, usage } = await model.generate(pattern(60, 6), { ...greedy, maxTokens: 200 });
  const { steps, drafted, accepted, meanAccepted, widths, perDrafter } = stats;
  t.equal(steps + accepted, usage.completionTokens);
  t.equal(meanAccepted, (steps + accepted) / steps);
  t.equal(
    widths.reduce((sum, count) => sum + count, 0),
    steps,
  );
  t.equal(widths.reduce((sum, count, rows) => sum + count * (rows - 1), 0) + widths[0]!, drafted);
  t.ok(perDrafter["chaos"]!.drafted > 0 && perDrafter["suffix"]!.accepted <= accepted);
});
