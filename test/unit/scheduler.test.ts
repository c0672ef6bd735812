// The scheduler's rules one by one; scheduler-properties.test.ts has the random schedules.
import t from "tap";
import { Scheduler, type SchedulerOptions, type Step } from "../../dist/esm/scheduler/index.js";
import { DraftTree, orderRows } from "../../dist/esm/speculation/index.js";

const defaults: SchedulerOptions = {
  maxSequences: 3,
  maxBranches: 0,
  pageStride: 4,
  maxRows: 48,
  maxWanted: 6,
  maxCandidates: 8,
  dim: 4,
  pages: 8,
  contextSize: 128,
  prefillChunk: 37,
  maxQueuedRequests: 5,
};

const create = (options: Partial<SchedulerOptions> = {}): Scheduler =>
  new Scheduler({ ...defaults, ...options }, new Int32Array(64));
const prompt = (length: number, first = 0): number[] => Array.from({ length }, (_, i) => first + i);

function request(id: number, length: number, room = 8) {
  return { id, prompt: prompt(length, id * 1000), maxPositions: length + room, abortIndex: id };
}

function run(scheduler: Scheduler, ms = 1): Step | null {
  const step = scheduler.compose();
  scheduler.takeCopies();
  if (step !== null) scheduler.commit(ms);
  return step;
}

/** [sequence, first position, rows] of each span. */
const spansOf = (step: Step | null): number[][] =>
  (step?.spans ?? []).map(({ sequence, start, rows }) => [sequence.id, start, rows]);

t.test("prompts run in chunks, only the last row is wanted, then one row a step", (t) => {
  const scheduler = create();
  const sequence = scheduler.submit(request(1, 50));
  let step = scheduler.compose() as Step;
  t.equal(step.shape.rows, 37);
  t.equal(step.wanted.length, 0);
  scheduler.commit(1);
  step = scheduler.compose() as Step;
  t.equal(step.shape.rows, 13);
  t.same(
    step.wanted.map(({ position }) => position),
    [49],
  );
  scheduler.commit(1);
  t.equal(scheduler.compose(), null, "nothing to run before a token is appended");
  t.ok(scheduler.append(sequence, 7));
  step = scheduler.compose() as Step;
  t.equal(step.shape.rows, 1);
  t.same([scheduler.arrays.tokens[0], scheduler.arrays.positions[0], scheduler.arrays.wants[0]], [7, 50, 1]);
  t.end();
});

t.test("hidden states: of every row or of the last one, and no logits", (t) => {
  const scheduler = create();
  const { wants } = scheduler.arrays;
  scheduler.submit({ ...request(1, 20, 0), wanted: "states" });
  scheduler.submit({ ...request(2, 20, 0), wanted: "last-state" });
  const rows = (step: Step) =>
    step.spans.map(({ sequence, start, rows, hidden }) => [sequence.id, start, rows, hidden]);
  let step = scheduler.compose() as Step;
  const first = [
    [1, 0, 20, 20],
    [2, 0, 17, 0],
  ];
  t.same(rows(step), first, "more of them than logits may be wanted");
  t.same([...wants.subarray(0, 37)], [...Array(20).fill(3), ...Array(17).fill(0)]);
  scheduler.commit(1);
  step = scheduler.compose() as Step;
  t.same(rows(step), [[2, 17, 3, 1]]);
  t.same([...wants.subarray(0, 3)], [0, 0, 3]);
  t.same(step.wanted, []);
  scheduler.commit(1);
  t.equal(scheduler.compose(), null);
  t.equal(scheduler.arrays.hidden.length, defaults.maxRows * defaults.dim);
  t.end();
});

t.test("decode rows come before prompts, and a paused sequence takes none", (t) => {
  const scheduler = create();
  const first = scheduler.submit(request(1, 3));
  scheduler.compose();
  scheduler.commit(1);
  scheduler.append(first, 9);
  scheduler.submit(request(2, 60));
  let step = scheduler.compose() as Step;
  t.same(
    step.spans.map(({ sequence, rows }) => [sequence.id, rows]),
    [
      [1, 1],
      [2, 16],
    ],
  );
  scheduler.commit(1);
  scheduler.append(first, 9);
  scheduler.setPaused(1, true);
  step = scheduler.compose() as Step;
  t.same(
    step.spans.map(({ sequence }) => sequence.id),
    [2],
  );
  t.end();
});

t.test("an abandoned step is composed again as it was", (t) => {
  const scheduler = create();
  scheduler.submit(request(1, 20));
  const before = (scheduler.compose() as Step).spans.map(({ start, rows }) => [start, rows]);
  scheduler.abandon();
  const after = (scheduler.compose() as Step).spans.map(({ start, rows }) => [start, rows]);
  t.same(after, before);
  t.throws(() => scheduler.compose(), { code: "INTERNAL" });
  t.end();
});

t.test("the queue has an end, and its head waits for pages", (t) => {
  const scheduler = create();
  scheduler.submit(request(1, 100, 28));
  for (let id = 2; id < 7; id++) scheduler.submit(request(id, 100, 28));
  t.equal(scheduler.running, 1, "free slots, but too few pages for another such prompt");
  t.throws(() => scheduler.submit(request(8, 1, 1)), { code: "QUEUE_FULL" });
  scheduler.remove(1);
  scheduler.submit(request(9, 1, 1));
  t.equal(scheduler.running, 1, "nobody passes the head of the queue");
  t.equal(scheduler.queued, 5);
  t.end();
});

t.test("the context's end: append refuses the token that has no position", (t) => {
  const scheduler = create({ contextSize: 32 });
  const sequence = scheduler.submit(request(1, 31, 100));
  t.ok(scheduler.append(sequence, 1));
  t.notOk(scheduler.append(sequence, 2));
  t.end();
});

t.test("a scored sequence wants every row but the last, with targets, within maxWanted", (t) => {
  const scheduler = create();
  const sequence = scheduler.submit({ ...request(1, 10, 0), wanted: "targets" });
  const seen: number[] = [];
  for (let step = scheduler.compose(); step !== null; step = scheduler.compose()) {
    t.ok(step.wanted.length <= defaults.maxWanted);
    for (let row = 0; row < step.shape.rows; row++) {
      const position = scheduler.arrays.positions[row] as number;
      seen.push(position);
      t.equal(scheduler.arrays.targets[row], sequence.tokens[position + 1]);
    }
    scheduler.commit(1);
  }
  t.same(seen, prompt(9));
  t.end();
});

t.test("a prefix that was computed is not computed again, nor are its pages taken twice", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  const tokens = prompt(70);
  const first = scheduler.submit({ id: 1, prompt: tokens, maxPositions: 80, abortIndex: 0 });
  run(scheduler);
  t.equal(scheduler.freePages, 5);
  const second = scheduler.submit({ id: 2, prompt: tokens, maxPositions: 80, abortIndex: 0 });
  t.same(spansOf(run(scheduler)), [[2, 64, 6]], "the tail of a running sequence is its own");
  t.equal(second.cachedTokens, 64);
  t.same([...scheduler.pagesOf(second)].slice(0, 2), [...scheduler.pagesOf(first)].slice(0, 2));
  t.equal(scheduler.freePages, 4);
  scheduler.remove(1);
  scheduler.remove(2);
  t.equal(scheduler.freePages, 8, "what is cached can be had");
  t.equal(scheduler.cachedPages, 3, "two pages, and one tail: the other is the same");
  t.end();
});

t.test("a page that is shared in part is copied, at any length", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  scheduler.submit({ id: 1, prompt: prompt(50), maxPositions: 60, abortIndex: 0 });
  run(scheduler);
  scheduler.remove(1);
  const other = [...prompt(41), 7, 8, 9];
  const sequence = scheduler.submit({ id: 2, prompt: other, maxPositions: 60, abortIndex: 0 });
  t.equal(sequence.cachedTokens, 41);
  const step = scheduler.compose();
  t.same(spansOf(step), [[2, 41, 3]]);
  const copies = [...scheduler.takeCopies()];
  t.equal(copies.length, 2);
  t.not(copies[0], copies[1]);
  t.equal(copies[1], scheduler.pagesOf(sequence)[1]);
  scheduler.commit(1);
  t.end();
});

t.test("the same prompt twice in a row still runs its last token", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  for (const id of [1, 2]) {
    const sequence = scheduler.submit({ id, prompt: prompt(64), maxPositions: 70, abortIndex: 0 });
    const step = scheduler.compose() as Step;
    t.equal(step.wanted.length, 1);
    t.equal(sequence.cachedTokens, id === 1 ? 0 : 63);
    scheduler.commit(1);
    scheduler.remove(id);
  }
  t.end();
});

t.test("prompts that arrive together compute their common prefix once", (t) => {
  const scheduler = create({ maxRows: 64, prefillChunk: 64, pages: 12 });
  const common = prompt(96);
  for (const id of [1, 2, 3]) {
    scheduler.submit({ id, prompt: [...common, 1000 + id], maxPositions: 100, abortIndex: 0 });
  }
  let rows = 0;
  for (let step = run(scheduler); step !== null; step = run(scheduler)) rows += step.shape.rows;
  t.equal(rows, 96 + 3);
  t.equal(scheduler.freePages, 12 - 3 - 3);
  t.end();
});

t.test("namespaces share nothing, and end when they are forgotten", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  const ask = (id: number, namespace: number) => {
    const sequence = scheduler.submit({ id, prompt: prompt(40), maxPositions: 50, abortIndex: 0, namespace });
    run(scheduler);
    scheduler.remove(id);
    return sequence.cachedTokens;
  };
  t.equal(ask(1, 0), 0);
  t.equal(ask(2, 5), 0);
  t.equal(ask(3, 5), 39);
  t.equal(scheduler.cachedPages, 4);
  scheduler.forget(5);
  t.equal(scheduler.cachedPages, 2);
  t.equal(ask(4, 5), 0);
  t.equal(ask(5, 0), 39);
  t.end();
});

t.test("a scored sequence runs all its rows and leaves nothing in the cache", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128, maxWanted: 128 });
  for (const id of [1, 2]) {
    scheduler.submit({ id, prompt: prompt(64), maxPositions: 64, abortIndex: 0, wanted: "targets" });
    t.same(spansOf(run(scheduler)), [[id, 0, 63]]);
    scheduler.remove(id);
  }
  t.equal(scheduler.cachedPages, 0);
  t.end();
});

t.test("old prefixes make room, the least recently used first", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128, pages: 4 });
  const ask = (id: number, first: number) => {
    const sequence = scheduler.submit({ id, prompt: prompt(33, first), maxPositions: 40, abortIndex: 0 });
    run(scheduler);
    scheduler.remove(id);
    return sequence.cachedTokens;
  };
  ask(1, 0);
  ask(2, 1000);
  t.equal(scheduler.cachedPages, 4);
  t.equal(ask(3, 0), 32, "used again, so newer than the other");
  ask(4, 2000);
  t.equal(ask(5, 0), 32);
  t.equal(ask(6, 1000), 0);
  t.end();
});

t.test("when pages run out the last in rank goes back to the queue, and loses nothing it said", (t) => {
  const scheduler = create({ maxRows: 256, prefillChunk: 256, pages: 4 });
  const first = scheduler.submit(request(1, 30, 90));
  const second = scheduler.submit(request(2, 30, 90));
  t.equal(scheduler.running, 2);
  for (let i = 0; i < 80 && scheduler.preemptions === 0; i++) {
    run(scheduler);
    for (const sequence of [first, second]) if (sequence.pending === 0) scheduler.append(sequence, 9);
  }
  t.equal(scheduler.preemptions, 1);
  t.equal(second.slot, -1);
  t.ok(second.length > 60);
  scheduler.remove(1);
  const step = run(scheduler) as Step;
  t.equal(step.spans[0]?.sequence.id, 2);
  t.equal(step.wanted[0]?.position, second.length - 1);
  t.equal(second.cachedTokens, 0, "its own pages are no found prefix");
  t.end();
});

t.test("an engine that approximates shares what a prompt left, and nothing that came after it", (t) => {
  const answer = [7, 8, 9];
  const twoTurns = (approximates: boolean) => {
    const scheduler = create({ maxRows: 128, prefillChunk: 128, approximates });
    const first = scheduler.submit(request(1, 40, 60));
    for (let i = 0; i < 40; i++) {
      run(scheduler);
      scheduler.append(first, answer[i % 3] as number);
    }
    const history = [...first.tokens.subarray(0, first.length)];
    scheduler.remove(1);
    const { cachedPages } = scheduler;
    const again = scheduler.submit({ id: 2, prompt: history, maxPositions: 100, abortIndex: 0 });
    return [cachedPages, again.cachedTokens];
  };
  t.same(twoTurns(false), [3, 79], "all that has run: 40 and 39 positions");
  t.same(twoTurns(true), [2, 40], "the prompt's page and the part of one it ends in");
  t.end();
});

t.test("one that was preempted does not find its answer computed exactly by another's prompt", (t) => {
  const scheduler = create({ maxSequences: 1, maxRows: 128, prefillChunk: 128, approximates: true });
  const low = scheduler.submit(request(1, 30, 90));
  for (let i = 0; i < 50; i++) {
    run(scheduler);
    scheduler.append(low, 9);
  }
  const prompt = [...low.tokens.subarray(0, low.length)];
  const high = scheduler.submit({ id: 2, prompt, maxPositions: 90, abortIndex: 0, priority: 1 });
  t.equal(low.slot, -1);
  t.equal(high.cachedTokens, 30, "nor does the other's prompt find the answer");
  run(scheduler);
  scheduler.remove(2);
  t.ok(scheduler.cachedPages >= 2, "the same tokens, as a prompt, are in the cache");
  const step = run(scheduler) as Step;
  t.same(spansOf(step), [[1, 30, 50]], "and not for it");
  t.end();
});

t.test("rows know up to where they are exact, and whose core neurons they use, those of branches too", (t) => {
  const plan: ConstructorParameters<typeof Scheduler>[2] = ([sequence], _time, most) => {
    if (most < 2 || sequence === undefined) return;
    const tree = new DraftTree();
    tree.start(sequence.tokens[sequence.length - 1] as number, 8);
    const chosen = [tree.propose(0, 1, "chaos", 1), tree.propose(0, 2, "chaos", 1)];
    sequence.draft = orderRows(tree, chosen);
  };
  const options = { ...defaults, maxBranches: 2, approximates: true, choosesCores: true };
  const scheduler = new Scheduler(options, new Int32Array(64), plan);
  const coreOf = (row: number) => scheduler.arrays.coreSlots[scheduler.arrays.sequences[row] as number];
  const exactUntilOf = (row: number) => scheduler.arrays.exactUntil[scheduler.arrays.sequences[row] as number];
  const generated = scheduler.submit(request(1, 20));
  scheduler.submit({ ...request(2, 10, 0), wanted: "targets" });
  scheduler.submit({ ...request(3, 5, 0), wanted: "targets", exactUntil: 3 });
  const step = run(scheduler) as Step;
  t.same(spansOf(step).slice(0, 2), [
    [1, 0, 20],
    [2, 0, 5],
  ]);
  t.same([exactUntilOf(0), exactUntilOf(20)], [20, 0], "a prompt's are exact, a scored text's are not");
  scheduler.remove(2);
  run(scheduler);
  t.equal(exactUntilOf(0), 3, "as the request says");
  scheduler.remove(3);
  scheduler.append(generated, 5);
  t.equal((run(scheduler) as Step).shape.rows, 3);
  const tables = [0, 1, 2].map((row) => scheduler.arrays.sequences[row] as number);
  t.ok(
    tables.some((table) => table >= defaults.maxSequences),
    "a branch ran",
  );
  t.same([0, 1, 2].map(exactUntilOf), [20, 20, 20]);
  t.same([0, 1, 2].map(coreOf), [generated.slot, generated.slot, generated.slot]);
  t.end();
});

t.test(
  "an engine that chooses core neurons: generating sequences run all of their prompt, and know their slot",
  (t) => {
    const scheduler = create({ maxRows: 128, prefillChunk: 128, approximates: true, choosesCores: true });
    const coreOf = (slot: number) => scheduler.arrays.coreSlots[slot];
    const first = scheduler.submit(request(1, 64));
    t.equal(coreOf(first.slot), first.slot);
    run(scheduler);
    scheduler.append(first, 5);
    run(scheduler);
    scheduler.remove(1);
    t.equal(scheduler.cachedPages, 0, "it leaves no prefix");
    scheduler.submit({ ...request(2, 64), prompt: prompt(64, 1000), wanted: "none" });
    run(scheduler);
    scheduler.remove(2);
    t.equal(scheduler.cachedPages, 2, "others do");
    const again = scheduler.submit({ ...request(3, 64), prompt: prompt(64, 1000) });
    t.equal(again.cachedTokens, 0, "and it finds none");
    const scored = scheduler.submit({ ...request(4, 10), wanted: "targets" });
    t.same([coreOf(again.slot), coreOf(scored.slot)], [again.slot, -1]);
    t.same(spansOf(run(scheduler))[0], [3, 0, 64]);
    t.end();
  },
);

t.test("priorities: first out of the queue, and in the place of a lower one", (t) => {
  const scheduler = create({ maxSequences: 1 });
  const low = scheduler.submit(request(1, 3));
  scheduler.submit(request(2, 3));
  scheduler.submit({ ...request(3, 3), priority: -1 });
  t.ok(low.slot >= 0);
  const high = scheduler.submit({ ...request(4, 3), priority: 2 });
  t.ok(high.slot >= 0);
  t.equal(low.slot, -1, "it made room");
  scheduler.remove(4);
  scheduler.compose();
  t.ok(low.slot >= 0, "before those that came after it");
  t.end();
});

t.test("a short prompt passes a long one", (t) => {
  const scheduler = create({ contextSize: 1024, pageStride: 32, pages: 40 });
  scheduler.submit(request(1, 500));
  run(scheduler);
  scheduler.submit(request(2, 30));
  t.equal(spansOf(run(scheduler))[0]?.[0], 2);
  t.end();
});

t.test("a prompt takes as many rows beside decoding streams as their patience allows", (t) => {
  const scheduler = create({ contextSize: 1024, pageStride: 32, pages: 40 });
  const stream = scheduler.submit(request(1, 3, 500));
  const answer = (ms: number): number[][] => {
    const spans = spansOf(run(scheduler, ms));
    scheduler.append(stream, 1);
    return spans;
  };
  answer(1);
  for (let i = 0; i < 50; i++) answer(4);
  scheduler.submit(request(2, 900, 1));
  t.same(answer(4 + 16 * 0.5)[1]?.[2], 16, "nothing measured yet");
  t.same(answer(4 + 8 * 0.5)[1]?.[2], 8, "4 ms alone, half a millisecond a row: 4 ms more");
  for (let i = 0; i < 20; i++) answer(4 + 8 * 100);
  t.same(answer(4)[1]?.[2], 4, "never fewer");
  t.end();
});

t.test("pages filled elsewhere: reserved, kept, and found by their namespace", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  const tokens = Int32Array.from(prompt(70));
  const pages = scheduler.reserve(3);
  t.equal(pages.length, 3);
  t.equal(scheduler.freePages, 5);
  scheduler.keep(3, tokens, 70, pages);
  t.equal(scheduler.freePages, 8);
  const sequence = scheduler.submit({ id: 1, prompt: tokens, maxPositions: 80, abortIndex: 0, namespace: 3 });
  t.equal(sequence.cachedTokens, 69);
  scheduler.remove(1);
  t.equal(scheduler.reserve(99).length, 8, "as many as there are");
  t.end();
});

t.test("positions that are only to be in the cache: no row is wanted", (t) => {
  const scheduler = create({ maxRows: 128, prefillChunk: 128 });
  const sequence = scheduler.submit({ ...request(1, 40, 0), wanted: "none" });
  const step = run(scheduler) as Step;
  t.equal(step.wanted.length, 0);
  t.equal(sequence.pending, 0);
  t.equal(scheduler.pagesOf(sequence).length, 2);
  t.end();
});
