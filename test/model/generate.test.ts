// generate(), chat() and perplexity() on the real models.
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { modelPath } from "../support/models.js";
import { readGolden } from "../support/shared-data.js";

for (const name of ["smollm2-135m-instruct", "gemma-3-270m"] as const) {
  t.test(name, async (t) => {
    const model = await loadModel(await modelPath(name), { contextSize: 2048 });

    await t.test(
      "knows a capital",
      { skip: name !== "smollm2-135m-instruct" && "a base model says something else" },
      async (t) => {
        const { text } = await model.generate("The capital of France is", { maxTokens: 8, temperature: 0 });
        t.match(text, /^ Paris/);
      },
    );

    await t.test("the same seed gives the same text, alone or beside others", async (t) => {
      const options = { maxTokens: 24, temperature: 1, seed: 7 };
      const prompt = "Once upon a time";
      const alone = await model.generate(prompt, options);
      const beside = await Promise.all([
        model.generate(prompt, options),
        model.generate("One, two, three,", options),
        model.generate(prompt, { ...options, seed: 8 }),
      ]);
      t.equal(beside[0].text, alone.text);
      t.not(beside[2].text, alone.text);
    });

    await t.test("every sampler option at once still gives text", async (t) => {
      const { tokens } = await model.generate("A list of animals:", {
        maxTokens: 16,
        temperature: 0.7,
        topK: 0,
        topP: 0.9,
        minP: 0.02,
        typicalP: 0.95,
        repeatPenalty: 1.2,
        presencePenalty: 0.5,
        frequencyPenalty: 0.5,
        repeatLastN: -1,
        seed: 3,
        ignoreEos: true,
      });
      t.equal(tokens.length, 16);
    });

    await t.test("generate and perplexity see the same bits", async (t) => {
      const prompt = model.tokenize("The otter is a");
      const { tokens, logprobs } = await model.generate(prompt, {
        maxTokens: 12,
        temperature: 0,
        logprobs: true,
        ignoreEos: true,
      });
      const { logprobs: scored } = await model.perplexity([...prompt, ...tokens]);
      t.same(
        logprobs?.map(({ logprob }) => logprob),
        [...scored.slice(prompt.length - 1)],
      );
    });

    await t.test("a stop string across tokens: nothing of it is streamed", async (t) => {
      const options = { maxTokens: 24, temperature: 0, ignoreEos: true };
      const free = await model.generate("The capital of France is", options);
      const middle = Math.floor(free.text.length / 2);
      const stop = free.text.slice(middle, middle + 6);
      let streamed = "";
      const result = model.generate("The capital of France is", { ...options, stop });
      for await (const part of result) streamed += part.text;
      t.equal(streamed, free.text.slice(0, free.text.indexOf(stop)));
      t.match(await result, { finishReason: "stop", text: streamed });
    });

    await t.test("what is streamed is the decoding of the tokens, at the wildest sampling too", async (t) => {
      // The pieces of emoji are made likely, so that characters of several tokens, whole and broken ones, come up.
      const logitBias = Object.fromEntries(
        model.tokenize("🦦👨‍👩‍👧世界𝔘", { addSpecial: false }).map((id) => [id, 12]),
      );
      const options = { maxTokens: 64, temperature: 2, topK: 0, topP: 1, minP: 0, seed: 5, ignoreEos: true, logitBias };
      let streamed = "";
      const result = model.generate("Emoji:", options);
      for await (const part of result) streamed += part.text;
      t.equal(streamed, model.detokenize((await result).tokens));
    });

    const golden = readGolden(name);
    // fidelity.test.ts holds the engine to the oracle; this only shows that perplexity() scores the same tokens.
    await t.test(
      "perplexity is about the oracle's",
      { skip: golden === null && "golden outputs are absent" },
      async (t) => {
        const { ppl } = await model.perplexity(golden?.ids ?? []);
        const ratio = ppl / (golden?.perplexity ?? Number.NaN);
        t.ok(Math.abs(ratio - 1) < 0.02, `${ppl} is ${ratio} of the oracle's`);
      },
    );

    await model.dispose();
  });
}

t.test("chat ends by itself and reports its usage", async (t) => {
  const model = await loadModel(await modelPath("smollm2-135m-instruct"));
  const result = model.chat([{ role: "user", content: "Reply with one word: what colour is the sky?" }], {
    maxTokens: 100,
    temperature: 0,
  });
  let text = "";
  for await (const part of result) text += part.text;
  const { finishReason, usage } = await result;
  t.match(text, /blue/i);
  t.equal(finishReason, "stop");
  t.ok(usage.promptTokens > 15);
  const spelled = await model.chat([{ role: "user", content: "<|im_end|>" }], { maxTokens: 1 });
  const plain = await model.chat([{ role: "user", content: "" }], { maxTokens: 1 });
  t.ok(spelled.usage.promptTokens > plain.usage.promptTokens + 1, "a spelled control token is several tokens of text");
  await model.dispose();
});
