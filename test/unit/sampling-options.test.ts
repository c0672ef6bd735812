/** Request options: defaults, ranges and the typed errors of every wrong value (class R). */
import t, { type t as tap } from "tap";
import { InvalidOptionError } from "../../dist/esm/errors.js";
import { resolveSampling } from "../../dist/esm/sampling/index.js";

function refused(
  t: { ok: typeof tap.ok; fail: typeof tap.fail; match: typeof tap.match },
  options: unknown,
  message: RegExp,
  context = {},
): void {
  try {
    resolveSampling(options as never, context);
    t.fail(`accepted ${message}`);
  } catch (error) {
    t.ok(error instanceof InvalidOptionError, String(error));
    t.match(error, { code: "INVALID_OPTION", status: 400, message });
    t.ok((error as Error).message.length < 700);
  }
}

t.test("defaults", async (t) => {
  const { seed, biasIds, biasValues, ...rest } = resolveSampling({});
  t.strictSame(rest, {
    maxTokens: undefined,
    temperature: 0.8,
    topK: 40,
    topP: 0.95,
    minP: 0.05,
    typicalP: 1,
    repeatPenalty: 1,
    repeatLastN: 64,
    presencePenalty: 0,
    frequencyPenalty: 0,
    stop: [],
    logprobs: -1,
    parseSpecial: false,
    ignoreEos: false,
  });
  t.ok(Number.isSafeInteger(seed) && seed >= 0);
  t.not(seed, resolveSampling(undefined).seed, "a random seed when absent");
  t.equal(biasIds.length + biasValues.length, 0);
  t.equal(resolveSampling({ topK: undefined, seed: 0 }).topK, 40, "undefined is absent");
});

t.test("every number out of range, and every wrong type, names its field", async (t) => {
  const numeric = [
    "temperature",
    "topK",
    "topP",
    "minP",
    "typicalP",
    "repeatPenalty",
    "repeatLastN",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "maxTokens",
    "logprobs",
  ];
  const wrong = [
    Number.NaN,
    Infinity,
    -Infinity,
    -1e9,
    2 ** 64,
    "1",
    "hot",
    null,
    {},
    [],
    [1],
    () => 1,
    Symbol("x"),
    10n,
    new Date(),
    new Proxy({}, {}),
  ];
  for (const field of numeric)
    for (const value of wrong) refused(t, { [field]: value }, new RegExp(`^${field}: expected `));
  for (const field of ["topK", "repeatLastN", "seed", "maxTokens", "logprobs"])
    refused(t, { [field]: 1.5 }, new RegExp(`^${field}: expected .*got 1.5`));
  refused(t, { temperature: -1 }, /^temperature: expected a number in \[0, 100\], got -1/);
  refused(t, { topK: -1 }, /^topK/);
  refused(t, { topP: 1.01 }, /^topP: expected a number in \[0, 1\]/);
  refused(t, { repeatPenalty: 0 }, /^repeatPenalty/);
  refused(t, { repeatLastN: -2 }, /^repeatLastN/);
  refused(t, { seed: 2 ** 53 }, /^seed/);
  refused(t, { maxTokens: 0 }, /^maxTokens: expected an integer in \[1, /);
  refused(t, { logprobs: 21 }, /^logprobs/);
  for (const field of ["parseSpecial", "ignoreEos"]) refused(t, { [field]: 1 }, new RegExp(`^${field}`));
  refused(t, { signal: { aborted: false } }, /^signal: expected an AbortSignal/);
  refused(t, { onPromptProgress: 1 }, /^onPromptProgress: expected a function/);
});

t.test("edges of the ranges are accepted", async (t) => {
  for (const options of [
    { temperature: 0 },
    { temperature: 1e-30 },
    { temperature: 5e-324 },
    { topP: 0 },
    { topK: 0 },
    { topK: 1e9 },
    { seed: 2 ** 53 - 1 },
    { repeatLastN: -1 },
    { minP: 1 },
    { typicalP: 0 },
    { logprobs: true },
    { logprobs: 20 },
    { signal: new AbortController().signal },
  ]) {
    t.doesNotThrow(() => resolveSampling(options), JSON.stringify(options));
  }
  t.equal(resolveSampling({ logprobs: true }).logprobs, 0);
  t.equal(resolveSampling({ logprobs: false }).logprobs, -1);
});

t.test("options of the wrong shape", async (t) => {
  for (const options of ["x", 1, [], () => 1, true]) refused(t, options, /^options: expected an object/);
  refused(
    t,
    {
      get topK() {
        throw new Error("boom");
      },
    },
    /^topK: reading it threw/,
  );
  refused(
    t,
    new Proxy(
      {},
      {
        ownKeys() {
          throw new Error("boom");
        },
      },
    ),
    /^options: listing/,
  );
  refused(
    t,
    new Proxy(
      {},
      {
        get() {
          throw new Error("boom");
        },
      },
    ),
    /reading it threw/,
  );
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  refused(t, proxy, /^options/);
  let reads = 0;
  const { temperature } = resolveSampling({
    get temperature() {
      return reads++ === 0 ? 0.5 : Number.NaN;
    },
  });
  t.equal(temperature, 0.5, "each option is read once");
});

t.test("unknown names suggest the nearest known one", async (t) => {
  for (const [name, near] of [
    ["temprature", "temperature"],
    ["top_k", "topK"],
    ["max_tokens", "maxTokens"],
    ["temp", "temperature"],
    ["TOPP", "topP"],
    ["repetition_penalty", "repeatPenalty"],
    ["stops", "stop"],
  ]) {
    refused(t, { [name as string]: 1 }, new RegExp(`^"${name}" is not an option; did you mean "${near}"`));
  }
  refused(t, { zzzzzzzzz: 1 }, /known options: maxTokens, temperature/);
  refused(t, { ["x".repeat(10_000)]: 1 }, /is not an option/);
  refused(t, JSON.parse('{"__proto__": 1}'), /"__proto__" is not an option/);
  t.doesNotThrow(() => resolveSampling({ chatTemplate: "x" } as never, { alsoKnown: ["chatTemplate"] }));
});

t.test("stop strings: at most 16 of 256 bytes", async (t) => {
  t.strictSame(resolveSampling({ stop: "x" }).stop, ["x"]);
  t.strictSame(resolveSampling({ stop: ["é".repeat(128), "b"] }).stop, ["é".repeat(128), "b"]);
  refused(t, { stop: "" }, /^stop: expected a non-empty string/);
  refused(t, { stop: ["a", ""] }, /^stop\[1\]/);
  refused(t, { stop: ["a", 5] }, /^stop\[1\]: .*got 5/);
  refused(t, { stop: [1, 2] }, /^stop\[0\]/);
  refused(t, { stop: `${"é".repeat(128)}a` }, /^stop: .*256 bytes/);
  refused(t, { stop: "x".repeat(1 << 20) }, /^stop: .*256 bytes/);
  refused(
    t,
    { stop: new Array(10_000).fill("k".repeat(1024)) },
    /^stop: expected at most 16 strings, got an array of 10000/,
  );
  refused(t, { stop: "\ud800" }, /^stop: expected well-formed text/);
  refused(t, { stop: 7 }, /^stop/);
  refused(t, { stop: { length: 1, 0: "x" } }, /^stop/);
});

t.test("logit bias: token ids, values and cap", async (t) => {
  const { biasIds, biasValues } = resolveSampling({ logitBias: { 5: -Infinity, 0: 1.5 } }, { vocabSize: 6 });
  t.strictSame(
    [[...biasIds], [...biasValues]],
    [
      [0, 5],
      [1.5, -Infinity],
    ],
  );
  for (const key of ["-1", "1.5", "NaN", "4294967296", "6", "abc", "01", "", "1e1"]) {
    refused(t, { logitBias: { [key]: 1 } }, /^logitBias: expected token ids in \[0, 5\] as keys/, { vocabSize: 6 });
  }
  refused(t, { logitBias: { 4294967296: 1 } }, /^logitBias/);
  for (const value of [Number.NaN, Infinity, "1", null, 1e7, {}])
    refused(t, { logitBias: { 3: value } }, /^logitBias\[3\]: expected a number/);
  refused(
    t,
    {
      logitBias: {
        get 3() {
          throw new Error("x");
        },
      },
    },
    /^logitBias\[3\]: reading it threw/,
  );
  for (const value of [[], "x", 1, null]) refused(t, { logitBias: value }, /^logitBias: expected an object/);
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i, 1]));
  refused(t, { logitBias: many }, /^logitBias: expected at most 1024 entries, got 100000/);
  refused(t, { logitBias: { 0: -Infinity, 1: -Infinity } }, /bans all 2 tokens/, { vocabSize: 2 });
});
