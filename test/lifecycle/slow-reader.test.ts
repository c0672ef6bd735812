// N9: a reader that stops reading pauses its own sequence only; a blocked main thread does too; both go on afterwards.
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { limits } from "../../dist/esm/limits.js";
import { tinyModel } from "../support/models.js";

const long = { maxTokens: 450, ignoreEos: true, temperature: 0 };
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

t.test("a slow reader waits alone, and gets everything in the end", async (t) => {
  const model = await loadModel(tinyModel());
  const expected = await model.generate("a", long);
  const slow = model.generate("a", long);
  const tokens: number[] = [];
  const first = await slow.next();
  if (!first.done) tokens.push(...first.value.tokens);
  t.equal((await model.generate("a", long)).tokens.length, 450, "a neighbour goes on");
  const { steps } = model.metrics();
  await wait(100);
  t.equal(model.metrics().steps, steps, "no step while the only sequence is paused");
  t.equal(model.metrics().running, 1);
  const before = process.cpuUsage();
  await wait(200);
  const { user, system } = process.cpuUsage(before);
  t.ok((user + system) / 1000 < 60, `${(user + system) / 1000} ms of CPU in 200 ms of waiting`);
  for await (const part of slow) tokens.push(...part.tokens);
  t.same(tokens, expected.tokens);
  await model.dispose();
});

t.test("awaiting the whole lifts the bound, even after the pause", async (t) => {
  const model = await loadModel(tinyModel());
  const result = model.generate("a", long);
  await wait(300);
  t.equal(model.metrics().running, 1, `paused at ${limits.maxUnreadTokens} unread tokens`);
  t.equal((await result).tokens.length, 450);
  await model.dispose();
});

t.test("a paused request can be aborted and disposed", async (t) => {
  const model = await loadModel(tinyModel());
  const controller = new AbortController();
  const result = model.generate("a", { ...long, signal: controller.signal });
  const other = model.generate("b", long);
  await wait(300);
  controller.abort();
  await t.rejects(result.then(), { code: "ABORTED" });
  await model.dispose();
  await t.rejects(other.then(), { code: "DISPOSED" });
});
