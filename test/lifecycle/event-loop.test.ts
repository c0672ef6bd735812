// The main thread while others work for it: generating from 1 MiB of text delays its event loop by less than 20 ms (p99).
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { checkLoopDelay } from "../support/loop-delay.js";
import { tinyModel } from "../support/models.js";

t.test("1 MiB of text", async (t) => {
  const contextSize = 1 << 20;
  const path = tinyModel({ nLayers: 1, nHeads: 2, nKvHeads: 1, headDim: 16, contextLength: contextSize });
  const model = await loadModel(path, { contextSize, maxSequences: 2 });
  const text = "The otter swims in the sea and eats what it finds there. ".repeat(20_000).slice(0, 1 << 20);
  const neighbour = model.generate("a b c", { maxTokens: 400, ignoreEos: true }).then();
  const controller = new AbortController();
  let seen = 0;
  const onPromptProgress = ({ processedTokens }: { processedTokens: number }): void => {
    seen = processedTokens;
    if (processedTokens > 8192) controller.abort();
  };
  const outcome = await checkLoopDelay(t, 20, async () => {
    const outcome = await model
      .generate(text, { signal: controller.signal, onPromptProgress, maxTokens: 4 })
      .then(undefined, (error: unknown) => error);
    await neighbour;
    return outcome;
  });
  t.match(outcome, { code: "ABORTED" });
  t.ok(seen > 8192, `${seen} tokens of the prompt were computed`);
  await model.dispose();
});
