// The scheduler against a naive model under random commands, and its rules one by one.
import t from "tap";
import { pagePositions } from "../../dist/esm/limits.js";
import { Scheduler, type SchedulerOptions, type Step } from "../../dist/esm/scheduler/index.js";

const defaults: SchedulerOptions = {
  maxSequences: 3,
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

/** mulberry32 */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % below;
  };
}

t.test("prompts run in chunks, only the last row is wanted, then one row a step", (t) => {
  const scheduler = create();
  const sequence = scheduler.submit(request(1, 50));
  let step = scheduler.compose() as Step;
  t.equal(step.shape.rows, 37);
  t.equal(step.wanted.length, 0);
  scheduler.commit();
  step = scheduler.compose() as Step;
  t.equal(step.shape.rows, 13);
  t.same(
    step.wanted.map(({ position }) => position),
    [49],
  );
  scheduler.commit();
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
  scheduler.submit({ ...request(1, 20, 0), hidden: "all" });
  scheduler.submit({ ...request(2, 20, 0), hidden: "last" });
  const rows = (step: Step) =>
    step.spans.map(({ sequence, start, rows, hidden }) => [sequence.id, start, rows, hidden]);
  let step = scheduler.compose() as Step;
  const first = [
    [1, 0, 20, 20],
    [2, 0, 17, 0],
  ];
  t.same(rows(step), first, "more of them than logits may be wanted");
  t.same([...wants.subarray(0, 37)], [...Array(20).fill(3), ...Array(17).fill(0)]);
  scheduler.commit();
  step = scheduler.compose() as Step;
  t.same(rows(step), [[2, 17, 3, 1]]);
  t.same([...wants.subarray(0, 3)], [0, 0, 3]);
  t.same(step.wanted, []);
  scheduler.commit();
  t.equal(scheduler.compose(), null);
  t.equal(scheduler.arrays.hidden.length, defaults.maxRows * defaults.dim);
  t.end();
});

t.test("decode rows come before prompts, and a paused sequence takes none", (t) => {
  const scheduler = create();
  const first = scheduler.submit(request(1, 3));
  scheduler.compose();
  scheduler.commit();
  scheduler.append(first, 9);
  scheduler.submit(request(2, 60));
  let step = scheduler.compose() as Step;
  t.same(
    step.spans.map(({ sequence, rows }) => [sequence.id, rows]),
    [
      [1, 1],
      [2, 37],
    ],
  );
  scheduler.commit();
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
  scheduler.submit(request(2, 100, 28));
  t.equal(scheduler.freePages, 0);
  for (let id = 3; id < 8; id++) scheduler.submit(request(id, 1, 1));
  t.equal(scheduler.running, 2, "a free slot, but no page");
  t.throws(() => scheduler.submit(request(8, 1, 1)), { code: "QUEUE_FULL" });
  scheduler.remove(1);
  scheduler.submit(request(9, 1, 1));
  t.equal(scheduler.running, 3);
  t.equal(scheduler.queued, 4);
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
  const sequence = scheduler.submit({ ...request(1, 10, 0), score: true });
  const seen: number[] = [];
  for (let step = scheduler.compose(); step !== null; step = scheduler.compose()) {
    t.ok(step.wanted.length <= defaults.maxWanted);
    for (let row = 0; row < step.shape.rows; row++) {
      const position = scheduler.arrays.positions[row] as number;
      seen.push(position);
      t.equal(scheduler.arrays.targets[row], sequence.tokens[position + 1]);
    }
    scheduler.commit();
  }
  t.same(seen, prompt(9));
  t.end();
});

interface NaiveRequest {
  id: number;
  tokens: number[];
  promptLength: number;
  maxPositions: number;
  computed: number;
  running: boolean;
  paused: boolean;
}

/** The same rules over plain lists; admission is recomputed from nothing each time. */
class Naive {
  requests: NaiveRequest[] = [];
  get running(): NaiveRequest[] {
    return this.requests.filter(({ running }) => running);
  }
  get freePages(): number {
    return (
      defaults.pages - this.running.reduce((sum, { maxPositions }) => sum + Math.ceil(maxPositions / pagePositions), 0)
    );
  }
  admit(): void {
    for (const candidate of this.requests) {
      if (candidate.running) continue;
      const fits = Math.ceil(candidate.maxPositions / pagePositions) <= this.freePages;
      if (!fits || this.running.length >= defaults.maxSequences) return;
      candidate.running = true;
    }
  }
}

function checkStep(scheduler: Scheduler, naive: Naive, step: Step | null): string[] {
  const wrong: string[] = [];
  const runnable = naive.running.filter((each) => !each.paused && each.tokens.length > each.computed);
  if (step === null) return runnable.length === 0 ? [] : [`no step, but ${runnable.map(({ id }) => id)} can run`];
  const { arrays } = scheduler;
  const pages = new Set<number>();
  let row = 0;
  let prefilling = false;
  let prefillRows = 0;
  for (const { sequence, rows } of step.spans) {
    const model = naive.requests.find(({ id }) => id === sequence.id);
    if (model === undefined || !model.running || model.paused) {
      wrong.push(`rows for ${sequence.id}, which cannot run`);
      continue;
    }
    const decode = model.computed >= model.promptLength;
    if (decode && prefilling) wrong.push("a decode row after a prompt");
    prefilling ||= !decode;
    if (!decode) prefillRows += rows;
    for (let i = 0; i < rows; i++, row++) {
      const position = model.computed + i;
      if (arrays.positions[row] !== position)
        wrong.push(`row ${row}: position ${arrays.positions[row]}, not ${position}`);
      if (arrays.tokens[row] !== model.tokens[position]) wrong.push(`row ${row}: wrong token`);
      if (arrays.sequences[row] !== sequence.slot) wrong.push(`row ${row}: wrong table`);
      if ((arrays.wants[row] === 1) !== (position === model.tokens.length - 1))
        wrong.push(`row ${row}: wants ${arrays.wants[row]}`);
    }
    const table = arrays.pageTables.subarray(
      sequence.slot * defaults.pageStride,
      (sequence.slot + 1) * defaults.pageStride,
    );
    const used = Math.ceil(model.maxPositions / pagePositions);
    for (const page of table.subarray(0, used)) {
      if (page < 0 || page >= defaults.pages || pages.has(page)) wrong.push(`page ${page} is out of range or shared`);
      pages.add(page);
    }
  }
  if (prefillRows > defaults.prefillChunk) wrong.push(`${prefillRows} prompt rows in one step`);
  const decoding = runnable.filter((each) => each.computed >= each.promptLength);
  for (const each of decoding)
    if (!step.spans.some(({ sequence }) => sequence.id === each.id)) wrong.push(`no decode row for ${each.id}`);
  if (row !== step.shape.rows || row > defaults.maxRows) wrong.push(`${row} rows, shape says ${step.shape.rows}`);
  return wrong;
}

t.test("random commands agree with the naive model", (t) => {
  const seed = Number(process.env.LUTRA_TEST_SEED ?? 20260717);
  t.comment(`seed ${seed} (LUTRA_TEST_SEED)`);
  for (let round = 0; round < 60; round++) {
    const failure = runRandom(seeded(seed + round));
    if (failure !== null) {
      t.fail(`round ${round}: ${failure}`);
      break;
    }
  }
  t.pass("60 rounds of 200 commands");
  t.end();
});

function runRandom(random: (below: number) => number): string | null {
  const scheduler = create();
  const naive = new Naive();
  let nextId = 1;
  for (let command = 0; command < 200; command++) {
    const which = random(10);
    const target = naive.requests[random(Math.max(1, naive.requests.length))];
    if (which < 2) submit(scheduler, naive, nextId++, random);
    else if (which === 2 && target !== undefined) {
      scheduler.remove(target.id);
      naive.requests = naive.requests.filter((each) => each !== target);
    } else if (which === 3 && target !== undefined) {
      target.paused = !target.paused;
      scheduler.setPaused(target.id, target.paused);
    } else {
      naive.admit();
      const step = scheduler.compose();
      const wrong = checkStep(scheduler, naive, step);
      if (wrong.length > 0) return wrong.join("; ");
      if (step === null) continue;
      if (random(5) === 0) scheduler.abandon();
      else advance(scheduler, naive, step, random);
    }
    naive.admit();
    scheduler.hasWork();
    if (scheduler.freePages !== naive.freePages)
      return `${scheduler.freePages} free pages, the model has ${naive.freePages}`;
    if (scheduler.running !== naive.running.length)
      return `${scheduler.running} running, the model has ${naive.running.length}`;
  }
  for (const { id } of naive.requests) scheduler.remove(id);
  return scheduler.freePages === defaults.pages && scheduler.running + scheduler.queued === 0
    ? null
    : "something is left at the end";
}

function submit(scheduler: Scheduler, naive: Naive, id: number, random: (below: number) => number): void {
  const length = 1 + random(100);
  const maxPositions = Math.min(defaults.contextSize, length + random(40));
  naive.admit();
  const full = naive.requests.filter(({ running }) => !running).length >= defaults.maxQueuedRequests;
  try {
    scheduler.submit({ id, prompt: prompt(length, id), maxPositions, abortIndex: 0 });
  } catch (error) {
    if (full && (error as { code: string }).code === "QUEUE_FULL") return;
    throw error;
  }
  if (full) throw new Error("a full queue took a request");
  naive.requests.push({
    id,
    tokens: prompt(length, id),
    promptLength: length,
    maxPositions,
    computed: 0,
    running: false,
    paused: false,
  });
}

function advance(scheduler: Scheduler, naive: Naive, step: Step, random: (below: number) => number): void {
  scheduler.commit();
  for (const { sequence, rows } of step.spans)
    (naive.requests.find(({ id }) => id === sequence.id) as NaiveRequest).computed += rows;
  for (const { sequence } of [...step.wanted]) {
    const model = naive.requests.find(({ id }) => id === sequence.id) as NaiveRequest;
    const token = random(1000);
    const fits = model.tokens.length < model.maxPositions;
    if (scheduler.append(sequence, token) !== fits) throw new Error(`append gave ${!fits}`);
    if (fits) model.tokens.push(token);
    else {
      scheduler.remove(model.id);
      naive.requests = naive.requests.filter((each) => each !== model);
    }
  }
}
