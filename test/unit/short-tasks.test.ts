// The threads that encode texts: order, cancelling, the queue's bound, a thread that dies at any moment, and their end.
import { setTimeout as wait } from "node:timers/promises";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { createError } from "../../dist/esm/errors.js";
import { limits } from "../../dist/esm/limits.js";
import { runShortTask, shortTaskThreads, type ShortTask } from "../../dist/esm/worker/index.js";
import { tinyModel } from "../support/models.js";

const tokenizer = binding.tokenizerAcquire(tinyModel());
t.teardown(() => binding.tokenizerRelease(tokenizer));
const flags = { tokenizer, addSpecial: false, parseSpecial: false };
const encode = (...texts: string[]): ShortTask => ({ kind: "encode", texts, ...flags });
const slow = encode("the otter and the ".repeat(200_000));
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "done",
    (error: { code: string }) => error.code,
  );
const ids = (text: string): number[] => [...binding.encode(tokenizer, text, false, false)];

t.test("texts come back in order, counted", async (t) => {
  const { ids: flat, counts } = await runShortTask(encode("the otter", "", "in")).encoded;
  t.same([...flat], [...ids("the otter"), ...ids("in")]);
  t.same(counts, [ids("the otter").length, 0, ids("in").length]);
});

t.test("at most two threads, and each takes its tasks in order", async (t) => {
  const ended: number[] = [];
  const runs = Array.from({ length: 12 }, (_, i) =>
    runShortTask(encode("the otter ".repeat(20_000))).encoded.then(() => ended.push(i)),
  );
  t.equal(shortTaskThreads().length, 2);
  await Promise.all(runs);
  const last = [-1, -1];
  for (const i of ended) {
    const thread = last.findIndex((before) => before < i);
    t.not(thread, -1, `${ended}`);
    last[thread] = i;
    last.sort((a, b) => b - a);
  }
});

t.test("an unknown vocabulary is DISPOSED, a text in a batch is named", async (t) => {
  await t.rejects(runShortTask({ ...slow, tokenizer: 987654 } as ShortTask).encoded, { code: "DISPOSED" });
  const batch = runShortTask({ ...encode("a", "b"), first: 40, tokenizer: 987654 } as ShortTask);
  await t.rejects(batch.encoded, { code: "DISPOSED", message: /^texts\[40\]: / });
});

t.test("cancelled: at once in the queue, with the thread when it runs", async (t) => {
  const reason = createError("ABORTED", "enough");
  const running = [runShortTask(slow), runShortTask(slow)];
  const queued = runShortTask(slow);
  const last = runShortTask(encode("in"));
  queued.cancel(reason);
  await t.rejects(queued.encoded, { code: "ABORTED", message: "enough" });
  running[0]?.cancel(reason);
  await t.rejects(running[0]!.encoded, { code: "ABORTED" });
  t.equal((await last.encoded).ids.length, ids("in").length);
  await running[1]!.encoded;
});

t.test("the queue has a bound", async (t) => {
  const runs = Array.from({ length: limits.maxShortTasks + 2 }, () => runShortTask(encode("in")));
  t.throws(() => runShortTask(encode("in")), { code: "QUEUE_FULL" });
  await Promise.all(runs.map(({ encoded }) => encoded));
  t.equal(await codeOf(runShortTask(encode("in")).encoded), "done");
});

t.test("a thread that dies fails its task alone, at any moment", async (t) => {
  let lost = 0;
  for (const delay of [0, 1, 20, 40, 60, 80, 120]) {
    const [first, second] = [runShortTask(slow), runShortTask(slow)];
    const next = runShortTask(encode("the otter"));
    const outcomes = [first, second, next].map(({ encoded }) => codeOf(encoded));
    await wait(delay);
    await shortTaskThreads()[0]?.terminate();
    const codes = await Promise.all(outcomes);
    t.same(codes.filter((code) => code === "done").slice(0, 2), ["done", "done"], `after ${delay} ms`);
    lost += codes.filter((code) => code === "WORKER_LOST").length;
  }
  t.ok(lost > 0, `${lost} tasks were lost with their thread`);
  for (const idle of shortTaskThreads()) await idle.terminate();
  t.equal(await codeOf(runShortTask(encode("in")).encoded), "done", "an idle one that died is replaced");
});

t.test("idle threads end", async (t) => {
  const changed = limits as { shortTaskIdleMs: number };
  const { shortTaskIdleMs } = limits;
  changed.shortTaskIdleMs = 30;
  await Promise.all([runShortTask(slow).encoded, runShortTask(slow).encoded]);
  t.ok(shortTaskThreads().length > 0);
  for (let i = 0; i < 100 && shortTaskThreads().length > 0; i++) await wait(20);
  t.equal(shortTaskThreads().length, 0);
  changed.shortTaskIdleMs = shortTaskIdleMs;
});
