/**
 * Continuous batching: a queue by priority and order of arrival, admission by sequence count and pages, and the
 * composition of one step: first one decode row for every running sequence, then chunks of prompts, as many rows as the
 * streams can bear (step-costs.ts). When pages run out, the lowest in rank makes room: it goes back to the queue with
 * what it has said so far, and is computed again later, from the prefix tree where that still has it.
 *
 * Pure: it owns the page tables and the step's input arrays, and knows nothing of native code, threads or text.
 *
 * Contract: compose() → make takeCopies() → run → commit(); between compose and commit no other method may be called,
 * except abandon() in place of commit() when the step did not finish (its rows are composed again; running a row twice
 * gives the same bits).
 */
import type { StepArrays } from "../binding/native.js";
import { createError } from "../errors.js";
import { limits, pagePositions } from "../limits.js";
import { PageTables } from "./page-tables.js";
import { compareRank, Sequence, type SequenceRequest } from "./sequence.js";
import type { Step, StepLimits } from "./step.js";
import { StepBuilder } from "./step-builder.js";
import { StepCosts } from "./step-costs.js";
import type { StepCurve } from "./step-curve.js";

/**
 * Gives the sequences, which all decode in a step that has no prompt rows, their `draft` or none: `most` rows together, beside
 * one each of their own.
 */
export type PlanDrafts = (sequences: readonly Sequence[], time: (rows: number) => number, most: number) => void;

export interface SchedulerOptions extends StepLimits {
  pages: number;
  contextSize: number;
  prefillChunk: number;
  maxQueuedRequests: number;
  /** Whether the engine computes approximately from a sequence's `exactUntil` on. Default: false. */
  approximates?: boolean;
  /**
   * Whether the engine chooses a generating sequence's core neurons from its prompt, whose rows all have to run: such a
   * sequence neither finds nor leaves cached prefixes. Default: false.
   */
  choosesCores?: boolean;
}

export class Scheduler {
  readonly arrays: StepArrays;
  private readonly options_: SchedulerOptions;
  private readonly tables_: PageTables;
  private readonly costs_: StepCosts;
  private readonly planDrafts_: PlanDrafts;
  /** Both by rank. */
  private readonly queue_: Sequence[] = [];
  private readonly running_: Sequence[] = [];
  private readonly freeSlots_: number[];
  private readonly byId_ = new Map<number, Sequence>();
  private readonly builder_: StepBuilder;
  private composed_ = false;
  private nextOrder_ = 0;
  private stepNumber_ = 0;
  private preemptions_ = 0;

  constructor(options: SchedulerOptions, aborts: Int32Array, planDrafts: PlanDrafts = () => {}) {
    this.options_ = options;
    this.tables_ = new PageTables(options.pages, options.maxSequences + options.maxBranches, options.pageStride);
    this.planDrafts_ = planDrafts;
    this.costs_ = new StepCosts(options.maxSequences + limits.maxDraftRows);
    this.builder_ = new StepBuilder(options, this.tables_, aborts);
    this.arrays = this.builder_.arrays;
    this.freeSlots_ = Array.from({ length: options.maxSequences }, (_, i) => options.maxSequences - 1 - i);
  }

  get queued(): number {
    return this.queue_.length;
  }
  get running(): number {
    return this.running_.length;
  }
  /** Pages that a request can have: free ones, and those of the prefix cache that nobody uses. */
  get freePages(): number {
    return this.tables_.pool.available;
  }
  /** Pages of the prefix cache, used or not. */
  get cachedPages(): number {
    return this.tables_.pool.cached;
  }
  /** Entries of a page table. */
  get pageStride(): number {
    return this.options_.pageStride;
  }
  /** What steps of decode rows take. */
  get curve(): StepCurve {
    return this.costs_.curve;
  }
  /** Times a sequence had to make room. */
  get preemptions(): number {
    return this.preemptions_;
  }

  /** Adds a request to the queue. Prompts are checked by the caller: 1 … contextSize tokens. */
  submit(request: SequenceRequest): Sequence {
    const { maxQueuedRequests, contextSize, approximates, choosesCores } = this.options_;
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
    const maxPositions = Math.min(request.maxPositions, contextSize);
    const hasCore = choosesCores === true && (request.wanted ?? "next") === "next";
    const sequence = new Sequence({ ...request, maxPositions, ...(hasCore && { cached: false }) }, approximates);
    sequence.hasCore = hasCore;
    sequence.order = this.nextOrder_++;
    this.byId_.set(sequence.id, sequence);
    insertByRank(this.queue_, sequence);
    this.admit();
    return sequence;
  }

  /** Removes a request at any point of its life and frees what it holds; an unknown id is ignored. */
  remove(id: number): void {
    const sequence = this.byId_.get(id);
    if (sequence === undefined) return;
    this.byId_.delete(id);
    if (sequence.slot < 0) this.queue_.splice(this.queue_.indexOf(sequence), 1);
    else this.stopRunning(sequence);
  }

  /** A paused sequence keeps its pages, unless others need them, and takes no rows. */
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

  /** The next step, in the reused arrays; null when nothing can run. */
  compose(): Step | null {
    if (this.composed_) throw createError("INTERNAL", "scheduler: compose() before commit()");
    this.admit();
    const { step } = this.builder_;
    this.builder_.begin();
    this.stepNumber_++;
    do {
      const decoding = this.findDecoding();
      const waiting = this.findPrompts();
      if (decoding.length > 0) this.addDecodeRows(step, decoding, waiting.length === 0);
      this.addPromptRows(step, waiting);
    } while (step.shape.rows === 0 && this.makeRoom());
    if (step.shape.rows === 0) return null;
    this.builder_.end();
    this.composed_ = true;
    return step;
  }

  /** Pages to be copied, [from, to, …] in order, before the composed step or anything else reads or writes pages. */
  takeCopies(): Int32Array {
    return this.tables_.takeCopies();
  }

  /** The composed rows have run, in `ms` milliseconds: their positions are in the cache, drafts' when they are accepted. */
  commit(ms: number): void {
    const { spans, shape, decodeRows, depth } = this.builder_.step;
    for (const { sequence, rows } of spans) {
      sequence.computed += sequence.draft === null ? rows : 1;
      this.tables_.publish(sequence);
    }
    this.costs_.observe(decodeRows, shape.rows - decodeRows, depth, ms);
    this.composed_ = false;
  }

  /** The row of the sequence's draft came true, as its parent did before: its position is in the cache too. */
  accept(sequence: Sequence, row: number): void {
    const { draft } = sequence;
    if (draft === null) return;
    const branch = draft.branches[row] as number;
    if (branch !== draft.branches[draft.parents[row] as number]) this.builder_.branches.adopt(sequence, branch);
    sequence.computed++;
    this.tables_.publish(sequence);
  }

  /** The composed step did not finish: nothing advances. */
  abandon(): void {
    this.composed_ = false;
  }

  /** The pages of a running sequence, in order of its positions. */
  pagesOf(sequence: Sequence): Int32Array {
    return this.tables_.pagesOf(sequence);
  }

  /** Up to `count` pages that the caller fills with positions computed elsewhere and then gives to keep(). */
  reserve(count: number): Int32Array {
    return this.tables_.reserve(count);
  }

  /** Reserved pages hold tokens[0, computed) from their first position on, as far as they go. */
  keep(namespace: number, tokens: Int32Array, computed: number, pages: Int32Array): void {
    this.tables_.keep(namespace, tokens, computed, pages);
  }

  /** Nobody will use the namespace any more. */
  forget(namespace: number): void {
    this.tables_.forget(namespace);
  }

  /** The sequences that decode and have a page for it; those last in rank make room. */
  private findDecoding(): Sequence[] {
    const found: Sequence[] = [];
    for (let i = 0; i < this.running_.length; i++) {
      const sequence = this.running_[i] as Sequence;
      if (sequence.paused || !sequence.decoding) continue;
      while (!this.tables_.grow(sequence, sequence.length)) {
        // All behind it in rank, which have no row in this step yet.
        const last = this.running_[this.running_.length - 1] as Sequence;
        if (last === sequence) break;
        this.preempt(last);
      }
      if (sequence.pages * pagePositions >= sequence.length) found.push(sequence);
    }
    return found;
  }

  /** Those with a prompt to run: by priority, then whoever waited longest, so that a short prompt passes a long one. */
  private findPrompts(): Sequence[] {
    const waiting = this.running_.filter(({ paused, decoding, pending }) => !paused && !decoding && pending > 0);
    return waiting.sort((a, b) => b.priority - a.priority || a.lastChunk - b.lastChunk || a.order - b.order);
  }

  private addDecodeRows(step: Step, sequences: readonly Sequence[], mayDraft: boolean): void {
    step.depth = sequences.reduce((sum, { length }) => sum + length, 0) / sequences.length;
    for (const sequence of sequences) sequence.draft = null;
    const { maxRows, maxWanted } = this.options_;
    const most = Math.min(maxRows, maxWanted) - sequences.length;
    if (mayDraft && most > 0) {
      const { curve } = this;
      this.planDrafts_(sequences, (rows) => curve.time(rows, step.depth), most);
    }
    for (const sequence of sequences) {
      if (sequence.draft === null || !this.builder_.addDraft(sequence, sequence.draft)) this.builder_.add(sequence, 1);
    }
    step.decodeRows = step.shape.rows;
  }

  /** Chunks of prompts, as many rows as the streams can bear. */
  private addPromptRows(step: Step, waiting: readonly Sequence[]): void {
    let budget = this.costs_.promptRows(step.decodeRows, step.depth, this.options_.prefillChunk);
    for (const sequence of waiting) {
      if (budget <= 0) return;
      this.tables_.adopt(sequence);
      if (this.builder_.computesFor(sequence)) continue;
      const wantedRoom = this.options_.maxWanted - step.wanted.length;
      let rows = Math.min(sequence.pendingTogether, budget, this.options_.maxRows - step.shape.rows);
      if (wantedRoom <= 0 && sequence.wanted !== "none") rows = 0;
      else if (sequence.wanted === "targets") rows = Math.min(rows, wantedRoom);
      if (rows > 0 && !this.tables_.grow(sequence, sequence.computed + rows)) {
        rows = sequence.pages * pagePositions - sequence.computed;
      }
      if (rows <= 0) continue;
      this.builder_.add(sequence, rows);
      sequence.lastChunk = this.stepNumber_;
      budget -= rows;
    }
  }

  /** The queue's head waits until its slot and the pages up to its first token are there; nobody passes it. */
  private admit(): void {
    while (this.queue_.length > 0) {
      const sequence = this.queue_[0] as Sequence;
      if (this.freeSlots_.length === 0 || !this.hasRoom(sequence)) {
        const last = this.running_[this.running_.length - 1];
        if (last === undefined || last.priority >= sequence.priority) return;
        this.preempt(last);
        continue;
      }
      this.queue_.shift();
      sequence.slot = this.freeSlots_.pop() as number;
      this.arrays.sequenceAborts[sequence.slot] = sequence.abortIndex;
      this.arrays.exactUntil[sequence.slot] = sequence.exactUntil;
      this.arrays.coreSlots[sequence.slot] = sequence.hasCore ? sequence.slot : -1;
      insertByRank(this.running_, sequence);
      this.tables_.adopt(sequence);
    }
  }

  /** Whether its pages are there beside those that running sequences still need for what they have to compute. */
  private hasRoom(sequence: Sequence): boolean {
    if (this.running_.length === 0) return true;
    let promised = 0;
    for (const { length, pages } of this.running_) {
      promised += Math.max(0, Math.ceil(length / pagePositions) - pages);
    }
    return this.tables_.pagesNeeded(sequence) + promised <= this.tables_.pool.available;
  }

  /** When something could run but for pages: ends the run of a paused sequence, or else of the lowest in rank. */
  private makeRoom(): boolean {
    if (this.running_.length < 2 || !this.running_.some(({ paused, pending }) => !paused && pending > 0)) return false;
    const paused = this.running_.filter((sequence) => sequence.paused);
    this.preempt((paused.at(-1) ?? this.running_.at(-1)) as Sequence);
    return true;
  }

  private preempt(sequence: Sequence): void {
    this.preemptions_++;
    sequence.preempted = true;
    this.stopRunning(sequence);
    insertByRank(this.queue_, sequence);
  }

  private stopRunning(sequence: Sequence): void {
    this.running_.splice(this.running_.indexOf(sequence), 1);
    this.builder_.branches.close(sequence);
    this.tables_.release(sequence);
    this.arrays.sequenceAborts[sequence.slot] = -1;
    this.freeSlots_.push(sequence.slot);
    sequence.slot = -1;
  }
}

function insertByRank(list: Sequence[], sequence: Sequence): void {
  const at = list.findIndex((other) => compareRank(sequence, other) < 0);
  list.splice(at < 0 ? list.length : at, 0, sequence);
}
