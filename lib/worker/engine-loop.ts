/**
 * The engine worker's loop. While something can run: read messages without blocking, drop aborted requests, compose one
 * step, run it natively, hand its rows to their requests. When nothing can run, return to the event loop and sleep until
 * a message comes. No promise is created per step.
 */
import { performance } from "node:perf_hooks";
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { createError, type LutraError, toLutraError } from "../errors.js";
import type { Scheduler, Sequence, Step } from "../scheduler/index.js";
import { header, slotIndex, slotWord } from "./control.js";
import type { Drafting } from "./speculation/drafting.js";
import { Generation, type TextSource } from "./generation.js";
import { PageTransfer } from "./page-transfer.js";
import type { FromWorker, ToWorker } from "./protocol.js";
import { ReaderPace } from "./reader-pace.js";
import { type LiveRequest, StepAnswers } from "./step-answers.js";
import { StepProbe } from "./speculation/step-probe.js";
import { StepRows } from "./step-rows.js";
import { Verifier } from "./speculation/verifier.js";
import { createWork, Export, sequenceFor, type Work, type WorkMessage } from "./work.js";

export interface EngineLoopOptions {
  port: MessagePort;
  control: Int32Array;
  source: TextSource;
  engine: number;
  scheduler: Scheduler;
  /** Undefined: no speculation. */
  drafting: Drafting | undefined;
  contextSize: number;
  /** Logits of a row. */
  rowLength: number;
  /** Bytes of a K/V page, as it leaves the cache. */
  pageBytes: number;
  /** Floats of a hidden state. */
  dim: number;
  /** Frees the native objects, at the end. */
  release: () => void;
}

export class EngineLoop {
  private readonly options_: EngineLoopOptions;
  private readonly scheduler_: Scheduler;
  private readonly control_: Int32Array;
  private readonly live_ = new Map<number, LiveRequest>();
  private readonly bySequence_ = new Map<number, LiveRequest>();
  private nextSequence_ = 1;
  private stopped_ = false;
  private readonly rows_: StepRows;
  private readonly pages_: PageTransfer;
  private readonly answers_: StepAnswers;
  private readonly pace_: ReaderPace;

  constructor(options: EngineLoopOptions) {
    this.options_ = options;
    this.scheduler_ = options.scheduler;
    this.control_ = options.control;
    const { source, engine, pageBytes } = options;
    this.pages_ = new PageTransfer(options.scheduler, source.binding, engine, pageBytes);
    this.rows_ = new StepRows({
      arrays: options.scheduler.arrays,
      rowLength: options.rowLength,
      readRow: (w, out) => source.binding.engineLogits(engine, w, out),
      kept: options.drafting?.keptCandidates ?? 0,
    });
    this.pace_ = new ReaderPace(options.scheduler, options.control);
    this.answers_ = new StepAnswers({
      scheduler: options.scheduler,
      verifier: new Verifier(options.scheduler, this.rows_, options.drafting),
      dim: options.dim,
      requestOf: (sequence) => this.bySequence_.get(sequence.id),
      enqueue: (id, slot, work) => this.enqueue(id, slot, work),
      pace: (request) => this.paceReader(request),
      finish: (request, work, reason) => this.finish(request, work, reason),
      forget: (request) => this.forget(request),
      fail: (id, error) => this.fail(id, error),
      post: (message) => this.post(message),
    });
  }

  serve(): void {
    this.publish();
    this.options_.port.on("message", (message: ToWorker) => {
      this.receive(message);
      this.run();
    });
    if (this.options_.drafting !== undefined) setImmediate(() => this.probe());
  }

  /** Until somebody wants something. */
  private probe(): void {
    const { source, engine, contextSize } = this.options_;
    const probe = new StepProbe(source.binding, engine, this.scheduler_, contextSize);
    while (this.live_.size === 0 && !this.stopped_ && !this.receiveAll() && probe.run()) {}
    if (this.stopped_) return;
    probe.report();
    this.run();
  }

  /** Whether there was a message. */
  private receiveAll(): boolean {
    let received = false;
    for (;;) {
      const next = receiveMessageOnPort(this.options_.port);
      if (next === undefined) return received;
      this.receive(next.message as ToWorker);
      received = true;
    }
  }

  private run(): void {
    for (;;) {
      this.receiveAll();
      if (this.stopped_) return;
      this.sweep();
      this.sendExports();
      const step = this.scheduler_.compose();
      this.publish();
      if (step !== null) this.runStep(step);
      else if (!this.sendExports()) return;
    }
  }

  private publish(): void {
    Atomics.store(this.control_, header.queued, this.scheduler_.queued);
    Atomics.store(this.control_, header.running, this.scheduler_.running);
    Atomics.store(this.control_, header.freePages, this.scheduler_.freePages);
    Atomics.store(this.control_, header.cachedPages, this.scheduler_.cachedPages);
    Atomics.store(this.control_, header.preemptions, this.scheduler_.preemptions);
  }

  private receive(message: ToWorker): void {
    if (this.stopped_) return;
    if (message.type === "stop") return this.stop();
    if (message.type === "forget") return this.scheduler_.forget(message.namespace);
    if (message.type === "wake") {
      const request = this.live_.get(message.id);
      if (request !== undefined) this.paceReader(request);
      return;
    }
    try {
      if (message.type === "profile") this.profile(message);
      else if (message.type === "sparsity") this.reportSparsity(message);
      else if (message.type === "import") this.importPages(message);
      else this.admit(message);
    } catch (thrown) {
      this.fail(message.id, toLutraError(thrown));
    }
  }

  private admit(message: WorkMessage): void {
    const { id, slot } = message;
    if (this.flag(slot, slotWord.abort)) throw createError("ABORTED", "the request was aborted before it started");
    const { source, contextSize, dim } = this.options_;
    const work = createWork(message, {
      source,
      contextSize,
      dim,
      post: (reply) => this.post(reply),
      isRead: () => !this.flag(slot, slotWord.unbounded),
    });
    this.enqueue(id, slot, work);
  }

  private importPages(message: Extract<ToWorker, { type: "import" }>): void {
    this.pages_.write(message);
    this.publish();
    this.post({ type: "imported", id: message.id });
  }

  private profile({ id, reset }: Extract<ToWorker, { type: "profile" }>): void {
    const { source, engine } = this.options_;
    this.post({ type: "profiled", id, operators: source.binding.engineProfile(engine, reset) });
  }

  private reportSparsity({ id, reset }: Extract<ToWorker, { type: "sparsity" }>): void {
    const { source, engine } = this.options_;
    this.post({ type: "sparsity", id, totals: source.binding.engineSparsity(engine, reset) });
  }

  private enqueue(id: number, slot: number, work: Work): void {
    const needs = sequenceFor(work, this.options_.contextSize);
    const abortIndex = slotIndex(slot, slotWord.abort);
    const sequence = this.scheduler_.submit({ ...needs, id: this.nextSequence_++, abortIndex });
    const request = { id, slot, sequence, work };
    this.live_.set(id, request);
    this.bySequence_.set(sequence.id, request);
    if (work instanceof Generation) this.options_.drafting?.begin(sequence, work.params);
  }

  /** Ends the requests whose abort flag is set. Returns how many. */
  private sweep(): number {
    let ended = 0;
    for (const request of this.live_.values()) {
      if (!this.flag(request.slot, slotWord.abort)) continue;
      ended++;
      if (request.work instanceof Generation) this.finish(request, request.work, "abort");
      else this.fail(request.id, createError("ABORTED", "the request was aborted"));
    }
    return ended;
  }

  private runStep(step: Step): void {
    const { source, engine } = this.options_;
    const { arrays } = this.scheduler_;
    this.rows_.prepare(step, (sequence) => this.generationOf(sequence));
    const started = performance.now();
    try {
      this.pages_.copy();
      source.binding.engineStep(engine, step.shape, arrays);
    } catch (thrown) {
      const error = toLutraError(thrown);
      this.scheduler_.abandon();
      if (error.code === "ABORTED" && this.sweep() > 0) return;
      for (const { sequence } of step.spans) this.failSequence(sequence, error);
      return;
    }
    this.scheduler_.commit(performance.now() - started);
    Atomics.add(this.control_, header.steps, 1);
    this.answers_.give(step);
  }

  /** Sends what is asked for and all in the cache; false when there was nothing. */
  private sendExports(): boolean {
    let sent = false;
    for (const request of this.live_.values()) {
      const { id, sequence, work } = request;
      if (!(work instanceof Export) || sequence.slot < 0 || sequence.pending > 0) continue;
      sent = true;
      try {
        const pages = this.pages_.read(sequence);
        const { computed } = sequence;
        this.forget(request);
        this.options_.port.postMessage({ type: "exported", id, pages, computed } satisfies FromWorker, [pages.buffer]);
      } catch (thrown) {
        this.fail(id, toLutraError(thrown));
      }
    }
    return sent;
  }

  private paceReader({ sequence, slot, work }: LiveRequest): void {
    if (work instanceof Generation) this.pace_.keep(sequence, slot, work.sentTokens);
  }

  private finish(request: LiveRequest, work: Generation, reason: "stop" | "length" | "abort"): void {
    const { cachedTokens } = request.sequence;
    const speculation = this.options_.drafting?.end(request.sequence);
    this.forget(request);
    work.finish(reason, cachedTokens, speculation);
  }

  private generationOf(sequence: Sequence): Generation | undefined {
    const work = this.bySequence_.get(sequence.id)?.work;
    return work instanceof Generation ? work : undefined;
  }

  private failSequence(sequence: Sequence, error: LutraError): void {
    const request = this.bySequence_.get(sequence.id);
    if (request !== undefined) this.fail(request.id, error);
  }

  private fail(id: number, error: LutraError): void {
    const request = this.live_.get(id);
    if (request !== undefined) this.forget(request);
    this.post({ type: "failed", id, error: { code: error.code, message: error.message } });
  }

  private forget(request: LiveRequest): void {
    this.scheduler_.remove(request.sequence.id);
    this.bySequence_.delete(request.sequence.id);
    this.options_.drafting?.end(request.sequence);
    this.live_.delete(request.id);
    this.publish();
  }

  private stop(): void {
    this.stopped_ = true;
    for (const request of [...this.live_.values()])
      this.fail(request.id, createError("DISPOSED", "the model was disposed"));
    this.options_.release();
    this.post({ type: "stopped" });
    this.options_.port.close();
  }

  private flag(slot: number, word: number): boolean {
    return Atomics.load(this.control_, slotIndex(slot, word)) !== 0;
  }

  private post(message: FromWorker): void {
    this.options_.port.postMessage(message);
  }
}
