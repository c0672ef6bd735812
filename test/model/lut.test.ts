// Products by table lookup on the two models: exact tables give the tokens and logits of multiply-adds bit for bit, alone,
// in a batch and with drafts; 8-bit tables are near, and say so.
import { createHash } from "node:crypto";
import t from "tap";
import { builtinText } from "../../dist/esm/calibration/index.js";
import { type LoadOptions, loadModel } from "../../dist/esm/index.js";
import { modelPath } from "../support/models.js";
import { NativeSession, type SessionOptions } from "../support/native-session.js";

const prompts = ["The capital of France is", "Once upon a time, there was a", "Water boils at", "def add(a, b):"];
const options = { temperature: 0, maxTokens: 24, logprobs: 2, ignoreEos: true, cachePrompt: false } as const;

async function answers(path: string, more: LoadOptions, together: boolean): Promise<unknown[]> {
  await using model = await loadModel(path, { contextSize: 256, maxSequences: 4, threads: 2, ...more });
  const results = [];
  if (together) results.push(...(await Promise.all(prompts.map((prompt) => model.generate(prompt, options)))));
  else for (const prompt of prompts) results.push(await model.generate(prompt, options));
  return results.map(({ tokens, logprobs, timings: { approximations } }) => ({ tokens, logprobs, approximations }));
}

function digest(path: string, ids: readonly number[], chunk: number, session: SessionOptions): string {
  const native = new NativeSession(path, { threads: 2, maxPositions: 256, ...session });
  const hash = createHash("sha256");
  native.feed(ids, chunk, (_row, logits) => void hash.update(Buffer.from(logits.slice().buffer)));
  native.dispose();
  return hash.digest("hex");
}

for (const name of ["smollm2-135m-instruct", "gemma-3-270m"] as const) {
  t.test(name, { timeout: 600_000 }, async (t) => {
    const path = await modelPath(name);
    const dot = await answers(path, { matmul: "dot", speculation: "off" }, false);
    for (const [what, more, together] of [
      ["alone", { speculation: "off" }, false],
      ["four together", { speculation: "off" }, true],
      ["one thread, with drafts", { threads: 1, speculation: { drafters: ["recycling", "suffix"] } }, false],
    ] as [string, LoadOptions, boolean][])
      t.same(await answers(path, { matmul: "lut", ...more }, together), dot, `tokens and log-probabilities, ${what}`);

    await using int8 = await loadModel(path, { contextSize: 512, matmul: { type: "lut", tables: "int8" }, threads: 2 });
    const ids = [...int8.tokenize(builtinText.slice(0, 400))].slice(0, 40);
    const expected = digest(path, ids, 40, {});
    for (const chunk of [1, 4, 7])
      t.equal(digest(path, ids, chunk, { tiles: ["all"] }), expected, `all logits, chunks of ${chunk}`);
    const approximate = digest(path, ids, 40, { tiles: ["all"], tables: "int8" });
    t.not(approximate, expected, "8-bit tables are an approximation");
    for (const chunk of [1, 3])
      t.equal(digest(path, ids, chunk, { tiles: ["all"], tables: "int8" }), approximate, `of one answer: ${chunk}`);

    const { against, approximations } = await int8.perplexity(builtinText.slice(0, 2000), { against: "exact" });
    t.comment(`${name}: 8-bit tables, KL ${against?.klMean}, top-1 agreement ${against?.top1Agreement}`);
    t.ok(against && against.klMean > 0 && against.klMean < 1e-3, `mean KL ${against?.klMean}`);
    t.match(approximations, [/^lut int8/]);
  });
}
