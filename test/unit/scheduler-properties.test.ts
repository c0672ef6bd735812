// Random schedules against a model that copies everything: every position of every request is remembered as the whole
// prefix that produced it, so a page that is shared, copied, evicted or overwritten wrongly shows as a foreign prefix. Where
// the engine approximates, positions from `exactUntil` on are another prefix than the same tokens of an exact one.
import t from "tap";
import { pagePositions } from "../../dist/esm/limits.js";
import { Scheduler, type SchedulerOptions, type Sequence, type Step } from "../../dist/esm/scheduler/index.js";
import { childRow, DraftTree, orderRows } from "../../dist/esm/speculation/index.js";
import { seeded } from "../support/seeded.js";

const schedules = 1200;
const commands = 120;

type Random = (below: number) => number;

interface Request {
  sequence: Sequence;
  /** What it has to hold: the naive copy. */
  tokens: number[];
  /** The prefix that ends with each token, by its number. */
  prefixes: number[];
  maxPositions: number;
}

/** Numbers prefixes: the same number for the same tokens after the same namespace, and never otherwise. */
class Prefixes {
  private readonly numbers_ = new Map<string, number>();
  constructor(private readonly approximates_: boolean) {}
  extend(request: Request): void {
    const at = request.prefixes.length;
    const before = request.prefixes[at - 1] ?? `namespace ${request.sequence.namespace}`;
    request.prefixes.push(this.after(before, request.tokens[at]!, at >= request.sequence.exactUntil));
  }
  after(before: number | string, token: number, late: boolean): number {
    const key = `${before}, ${token}${late && this.approximates_ ? ", approximate" : ""}`;
    const number = this.numbers_.get(key) ?? this.numbers_.size;
    this.numbers_.set(key, number);
    return number;
  }
}

/** What a page slot holds: the prefix that its key and value were computed from. */
class Memory {
  private readonly slots_: number[][];
  constructor(pages: number) {
    this.slots_ = Array.from({ length: pages }, () => []);
  }
  copy(pairs: Int32Array): void {
    for (let i = 0; i < pairs.length; i += 2) this.slots_[pairs[i + 1]!] = [...this.slots_[pairs[i]!]!];
  }
  write(table: Int32Array, position: number, prefix: number): void {
    this.writePage(table[Math.floor(position / pagePositions)]!, position, prefix);
  }
  writePage(page: number, position: number, prefix: number): void {
    this.slots_[page]![position % pagePositions] = prefix;
  }
  read(table: Int32Array, position: number): number | undefined {
    return this.slots_[table[Math.floor(position / pagePositions)]!]?.[position % pagePositions];
  }
}

class World {
  readonly options: SchedulerOptions;
  readonly scheduler: Scheduler;
  readonly memory: Memory;
  readonly live = new Map<number, Request>();
  private readonly prefixes_: Prefixes;
  finished = 0;
  accepted = 0;
  private nextId_ = 1;

  constructor(readonly random: Random) {
    const pageStride = 2 + random(4);
    this.options = {
      maxSequences: 1 + random(5),
      maxBranches: random(6),
      pageStride,
      maxRows: 0,
      maxWanted: 8 + random(16),
      maxCandidates: 8,
      dim: 1,
      pages: pageStride + random(3 * pageStride),
      contextSize: pageStride * pagePositions - random(5),
      prefillChunk: 1 + random(90),
      maxQueuedRequests: 1 + random(8),
      approximates: random(2) === 0,
    };
    this.prefixes_ = new Prefixes(this.options.approximates === true);
    this.options.maxRows = this.options.prefillChunk + this.options.maxSequences;
    this.scheduler = new Scheduler(this.options, new Int32Array(16), (...args) => this.plan(...args));
    this.memory = new Memory(this.options.pages);
  }

  submit(): void {
    const { random, scheduler } = this;
    const { contextSize } = this.options;
    // Few different texts, so that prefixes are shared often, in whole pages and in part.
    const length = 1 + random(contextSize);
    const turn = random(length + 1);
    const variant = random(3);
    const prompt = Array.from({ length }, (_, i) => (i < turn ? i : i + 1000 * variant));
    const maxPositions = Math.min(contextSize, length + random(60));
    const wanted = (["next", "next", "next", "targets", "none", "states", "last-state"] as const)[random(7)]!;
    if (wanted === "targets" && length < 2) return;
    const options = {
      prompt,
      maxPositions,
      wanted,
      priority: random(8) === 0 ? 1 : 0,
      namespace: random(6) === 0 ? 1 : 0,
    };
    try {
      const sequence = scheduler.submit({ ...options, id: this.nextId_++, abortIndex: 0 });
      const request: Request = { sequence, tokens: [...prompt], prefixes: [], maxPositions };
      for (let i = 0; i < length; i++) this.prefixes_.extend(request);
      this.live.set(sequence.id, request);
    } catch (error) {
      if ((error as { code: string }).code !== "QUEUE_FULL") throw error;
      if (scheduler.queued < this.options.maxQueuedRequests) throw new Error("a queue with room refused");
    }
  }

  remove(request: Request): void {
    this.scheduler.remove(request.sequence.id);
    this.live.delete(request.sequence.id);
  }

  /** One step, or a failed one; true when there was one. */
  step(): boolean {
    const { scheduler, random, memory } = this;
    const step = scheduler.compose();
    if (step === null) return false;
    this.check(step);
    memory.copy(scheduler.takeCopies());
    this.execute(step);
    if (random(8) === 0) {
      scheduler.abandon();
      return true;
    }
    const spans = step.spans.map(({ sequence }) => sequence);
    const wanted = step.wanted.map(({ sequence, position, draft }) => ({ sequence, position, draft }));
    scheduler.commit(1 + random(20));
    for (const { sequence, position, draft } of wanted) {
      const ran = new Set(wanted.filter((each) => each.sequence === sequence).map((each) => each.draft));
      if (draft === 0) this.answer(sequence, position, ran);
    }
    for (const sequence of spans) this.endStates(sequence);
    return true;
  }

  /** Random trees of tokens that may well come. */
  private plan(sequences: readonly Sequence[], _time: (rows: number) => number, most: number): void {
    const { random } = this;
    let left = most;
    for (const sequence of sequences) {
      const tree = new DraftTree();
      tree.start(sequence.tokens[sequence.length - 1]!, sequence.maxPositions - sequence.length);
      const nodes = random(Math.min(left, 12) + 1);
      for (let i = 0; i < nodes; i++) tree.propose(random(tree.count), random(3), "chaos", 1);
      left -= tree.count - 1;
      const chosen = Array.from({ length: tree.count - 1 }, (_, i) => i + 1);
      if (chosen.length > 0) sequence.draft = orderRows(tree, chosen);
    }
  }

  /** What the engine does: all rows and mirrors write, then every row reads all before it. */
  private execute(step: Step): void {
    const { memory } = this;
    const { arrays } = this.scheduler;
    const stride = this.options.pageStride;
    const rows: { table: Int32Array; position: number; path: number[] }[] = [];
    for (const { sequence, start, rows: count } of step.spans) {
      const { prefixes } = this.live.get(sequence.id)!;
      const drafts = step.wanted.filter((each) => each.sequence === sequence);
      const paths: number[][] = [];
      for (let i = 0; i < count; i++) {
        const at = rows.length;
        const { draft } = sequence;
        const node = draft === null ? 0 : drafts[i]!.draft;
        let path = prefixes.slice(0, start + i + 1);
        if (draft !== null) {
          const parent = paths[draft.parents[node]!] ?? prefixes.slice(0, start);
          path =
            node === 0
              ? prefixes.slice(0, start + 1)
              : [...parent, this.prefixes_.after(parent.at(-1)!, arrays.tokens[at]!, true)];
          paths[node] = path;
        }
        const position = arrays.positions[at]!;
        if (path.length !== position + 1) throw new Error(`row ${at} at ${position} has a path of ${path.length}`);
        rows.push({ table: arrays.pageTables.subarray(arrays.sequences[at]! * stride), position, path });
      }
    }
    for (const [row, { position }] of rows.entries()) this.checkExact(step, row, position);
    for (const { table, position, path } of rows) memory.write(table, position, path.at(-1)!);
    for (let i = 0; i < step.shape.mirrors; i++) {
      const { position, path } = rows[arrays.mirrorRows[i]!]!;
      memory.writePage(arrays.mirrorPages[i]!, position, path.at(-1)!);
    }
    for (const [row, { table, path }] of rows.entries()) {
      path.forEach((prefix, i) => {
        if (memory.read(table, i) !== prefix) throw new Error(`row ${row} finds another prefix at position ${i}`);
      });
    }
  }

  /** The row's page table says up to where its sequence is exact: prompts are, texts that are scored are not. */
  private checkExact(step: Step, row: number, position: number): void {
    const { arrays } = this.scheduler;
    const owners = step.spans.flatMap(({ sequence, rows }) => Array<Sequence>(rows).fill(sequence));
    const { wanted, promptLength } = owners[row]!;
    const expected = wanted === "targets" ? 0 : promptLength;
    const found = arrays.exactUntil[arrays.sequences[row]!];
    if (found !== expected) throw new Error(`row ${row} at ${position} is exact until ${found}, not ${expected}`);
  }

  /** Scheduled positions and tokens are those of the copy; streams that can decode do. */
  private check(step: Step): void {
    const { arrays } = this.scheduler;
    let row = 0;
    for (const { sequence, start, rows } of step.spans) {
      const request = this.live.get(sequence.id);
      if (request === undefined || sequence.paused) throw new Error(`rows for ${sequence.id}, which cannot run`);
      if (start !== sequence.computed) throw new Error(`${sequence.id} starts at ${start}`);
      for (let i = 0; i < rows; i++, row++) {
        if (sequence.draft !== null) continue;
        const fits = arrays.tokens[row] === request.tokens[start + i] && arrays.positions[row] === start + i;
        if (!fits || arrays.sequences[row] !== sequence.slot) throw new Error(`row ${row} of ${sequence.id} is wrong`);
      }
    }
    if (row !== step.shape.rows || row > this.options.maxRows) throw new Error(`${row} rows of ${step.shape.rows}`);
    if (step.shape.rows - step.decodeRows > this.options.prefillChunk) throw new Error("too many prompt rows");
    if (step.wanted.length > this.options.maxWanted) throw new Error("too many wanted rows");
  }

  private answer(sequence: Sequence, position: number, ran: Set<number>): void {
    const request = this.live.get(sequence.id);
    if (request === undefined) return;
    if (sequence.wanted === "targets") {
      if (position === sequence.length - 2) this.end(request);
      return;
    }
    if (position !== request.tokens.length - 1) throw new Error(`${sequence.id} answered at ${position}`);
    for (let row = 0; row >= 0; ) {
      // Answers repeat, too, so that turns of a conversation find each other, and drafts come true.
      const token = this.random(4) < 3 ? this.random(3) : request.tokens.length;
      if (!this.scheduler.append(sequence, token)) return this.end(request);
      request.tokens.push(token);
      this.prefixes_.extend(request);
      const next = sequence.draft === null ? -1 : childRow(sequence.draft, row, token);
      row = ran.has(next) ? next : -1;
      if (row < 0) continue;
      this.accepted++;
      this.scheduler.accept(sequence, row);
    }
  }

  private endStates(sequence: Sequence): void {
    const request = this.live.get(sequence.id);
    if (request === undefined || sequence.pending > 0) return;
    if (sequence.wanted === "states" || sequence.wanted === "last-state") this.end(request);
  }

  private end(request: Request): void {
    this.finished++;
    this.remove(request);
  }

  endCached(): void {
    for (const request of [...this.live.values()]) {
      const { sequence } = request;
      if (sequence.wanted === "none" && sequence.slot >= 0 && sequence.pending === 0) this.end(request);
    }
  }
}

function runSchedule(random: Random): number {
  const world = new World(random);
  const { scheduler, options } = world;
  for (let command = 0; command < commands; command++) {
    const which = random(12);
    const target = [...world.live.values()][random(Math.max(1, world.live.size))];
    if (which < 3) world.submit();
    else if (which === 3 && target !== undefined) world.remove(target);
    else if (which === 4 && target !== undefined) scheduler.setPaused(target.sequence.id, !target.sequence.paused);
    else if (which === 5 && random(10) === 0) scheduler.forget(1);
    else world.step();
    world.endCached();
  }
  for (const { sequence } of world.live.values()) scheduler.setPaused(sequence.id, false);
  const left = [...world.live.values()].reduce((sum, { maxPositions }) => sum + maxPositions, 0);
  for (let i = 0; world.live.size > 0; i++) {
    if (i > 100 * (left + 10)) throw new Error(`${world.live.size} requests never end`);
    const stepped = world.step();
    const before = world.live.size;
    world.endCached();
    if (!stepped && world.live.size === before) throw new Error(`${before} requests wait, and nothing runs`);
  }
  if (scheduler.freePages !== options.pages)
    throw new Error(`${scheduler.freePages} of ${options.pages} pages at the end`);
  return world.accepted;
}

t.test(`${schedules} random schedules`, (t) => {
  const seed = Number(process.env.LUTRA_TEST_SEED ?? 20261121);
  t.comment(`seed ${seed} (LUTRA_TEST_SEED)`);
  let accepted = 0;
  for (let round = 0; round < schedules; round++) {
    try {
      accepted += runSchedule(seeded(seed + round));
    } catch (error) {
      t.fail(`schedule ${round}: ${(error as Error).message}`);
      break;
    }
  }
  t.ok(accepted > schedules, `${accepted} drafted tokens came true`);
  t.end();
});
