/**
 * Continuous batching: a queue in order of arrival, admission by sequence count and pages, and the composition of one
 * step: first one decode row for every running sequence, then chunks of prompts. Pure: it owns the page tables and the
 * step's input arrays, and knows nothing of native code, threads or text.
 *
 * Contract: compose() → run → commit(); between the two no other method may be called, except abandon() in place of
 * commit() when the step did not finish (its rows are composed again; running a row twice gives the same bits).
 */
import type { StepArrays } from "../binding/native.js";
import { createError } from "../errors.js";
import { pagePositions } from "../limits.js";
import { PagePool } from "./page-pool.js";
import { Sequence, type SequenceRequest } from "./sequence.js";
import { createStepArrays, type Step, type StepLimits } from "./step.js";

export interface SchedulerOptions extends StepLimits {
  pages: number;
  contextSize: number;
  prefillChunk: number;
  maxQueuedRequests: number;
}

export class Scheduler {
  readonly arrays: StepArrays;
  private readonly options_: SchedulerOptions;
  private readonly pool_: PagePool;
  private readonly queue_: Sequence[] = [];
  /** In order of admission. */
  private readonly running_: Sequence[] = [];
  private readonly freeSlots_: number[];
  private readonly byId_ = new Map<number, Sequence>();
  private readonly step_: Step;
  private composed_ = false;

  constructor(options: SchedulerOptions, aborts: Int32Array) {
    this.options_ = options;
    this.pool_ = new PagePool(options.pages);
    this.arrays = createStepArrays(options, aborts);
    this.freeSlots_ = Array.from({ length: options.maxSequences }, (_, i) => options.maxSequences - 1 - i);
    const shape = { rows: 0, sequences: options.maxSequences, pageStride: options.pageStride, k: 1 };
    this.step_ = { shape, spans: [], wanted: [] };
  }

  get queued(): number {
    return this.queue_.length;
  }
  get running(): number {
    return this.running_.length;
  }
  get freePages(): number {
    return this.pool_.free;
  }

  /** Adds a request to the queue's end. Prompts are checked by the caller: 1 … contextSize tokens. */
  submit(request: SequenceRequest): Sequence {
    const { maxQueuedRequests, contextSize } = this.options_;
    if (request.prompt.length < 1 || request.prompt.length > contextSize) {
      throw createError(
        "INTERNAL",
        `scheduler: a prompt of ${request.prompt.length} tokens in a context of ${contextSize}`,
      );
    }
    if (this.byId_.has(request.id)) throw createError("INTERNAL", `scheduler: request ${request.id} is already there`);
    this.admit();
    if (this.queue_.length >= maxQueuedRequests) {
      throw createError(
        "QUEUE_FULL",
        `${this.queue_.length} requests wait already (limit ${maxQueuedRequests}); try again later`,
      );
    }
    const sequence = new Sequence({ ...request, maxPositions: Math.min(request.maxPositions, contextSize) });
    this.byId_.set(sequence.id, sequence);
    this.queue_.push(sequence);
    this.admit();
    return sequence;
  }

  /** Removes a request at any point of its life and frees what it holds; an unknown id is ignored. */
  remove(id: number): void {
    const sequence = this.byId_.get(id);
    if (sequence === undefined) return;
    this.byId_.delete(id);
    if (sequence.slot < 0) {
      this.queue_.splice(this.queue_.indexOf(sequence), 1);
      return;
    }
    const { pageStride } = this.options_;
    this.running_.splice(this.running_.indexOf(sequence), 1);
    this.pool_.giveBack(sequence.pages, this.arrays.pageTables, sequence.slot * pageStride);
    this.arrays.sequenceAborts[sequence.slot] = -1;
    this.freeSlots_.push(sequence.slot);
    sequence.slot = -1;
  }

  /** A paused sequence keeps its pages and takes no rows. */
  setPaused(id: number, paused: boolean): void {
    const sequence = this.byId_.get(id);
    if (sequence !== undefined) sequence.paused = paused;
  }

  /** Adds the token that was picked; false when the sequence has no position left for it to run at. */
  append(sequence: Sequence, token: number): boolean {
    if (sequence.length >= sequence.maxPositions) return false;
    sequence.tokens[sequence.length++] = token;
    return true;
  }

  /** True when compose() would give a step. */
  hasWork(): boolean {
    this.admit();
    return this.running_.some((sequence) => !sequence.paused && sequence.pending > 0);
  }

  /** The next step, in the reused arrays; null when nothing can run. */
  compose(): Step | null {
    if (this.composed_) throw createError("INTERNAL", "scheduler: compose() before commit()");
    this.admit();
    const step = this.step_;
    step.spans.length = 0;
    step.wanted.length = 0;
    step.shape.rows = 0;
    for (const sequence of this.running_) {
      if (!sequence.paused && sequence.decoding && sequence.pending > 0) this.addSpan(step, sequence, sequence.pending);
    }
    let budget = this.options_.prefillChunk;
    for (const sequence of this.running_) {
      if (sequence.paused || sequence.decoding) continue;
      const room = Math.min(budget, this.options_.maxRows - step.shape.rows);
      const wantedRoom = sequence.hidden === undefined ? this.options_.maxWanted - step.wanted.length : room;
      const rows = Math.min(sequence.pending, room, sequence.score ? wantedRoom : room, wantedRoom > 0 ? room : 0);
      if (rows <= 0) continue;
      this.addSpan(step, sequence, rows);
      budget -= rows;
    }
    if (step.shape.rows === 0) return null;
    this.composed_ = true;
    return step;
  }

  /** The composed rows have run: their positions are in the cache. */
  commit(): void {
    for (const span of this.step_.spans) span.sequence.computed += span.rows;
    this.composed_ = false;
  }

  /** The composed step did not finish: nothing advances. */
  abandon(): void {
    this.composed_ = false;
  }

  private addSpan(step: Step, sequence: Sequence, rows: number): void {
    const { tokens, positions, sequences, wants, targets } = this.arrays;
    const start = sequence.computed;
    let hidden = 0;
    for (let i = 0; i < rows; i++) {
      const row = step.shape.rows + i;
      const position = start + i;
      const asked = sequence.score || sequence.hidden === "all" || position === sequence.length - 1;
      const wanted = asked && sequence.hidden === undefined;
      tokens[row] = sequence.tokens[position] as number;
      positions[row] = position;
      sequences[row] = sequence.slot;
      wants[row] = wanted ? 1 : asked ? 3 : 0;
      targets[row] = sequence.score ? (sequence.tokens[position + 1] as number) : -1;
      if (wanted) step.wanted.push({ sequence, position, row });
      else if (asked) hidden++;
    }
    step.spans.push({ sequence, start, rows, hidden });
    step.shape.rows += rows;
  }

  /** First come, first served: the queue's head waits until its slot and all its pages are there. */
  private admit(): void {
    const { pageStride } = this.options_;
    while (this.queue_.length > 0 && this.freeSlots_.length > 0) {
      const sequence = this.queue_[0] as Sequence;
      const pages = Math.ceil(sequence.maxPositions / pagePositions);
      if (pages > this.pool_.free) return;
      this.queue_.shift();
      sequence.slot = this.freeSlots_.pop() as number;
      sequence.pages = pages;
      this.pool_.take(pages, this.arrays.pageTables, sequence.slot * pageStride);
      this.arrays.sequenceAborts[sequence.slot] = sequence.abortIndex;
      this.running_.push(sequence);
    }
  }
}
