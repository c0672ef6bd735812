/**
 * The engine worker's loop. While something can run: read messages without blocking, drop aborted requests, compose one
 * step, run it natively, hand its rows to their requests. When nothing can run, return to the event loop and sleep until
 * a message comes. No promise is created per step.
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { createError, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import type { Scheduler, Sequence, Step } from "../scheduler/index.js";
import { header, slotIndex, slotWord } from "./control.js";
import { Generation, type TextSource } from "./generation.js";
import { encodePrompt } from "./prompt.js";
import type { FromWorker, ToWorker } from "./protocol.js";
import { cutWindows, Scoring } from "./scoring.js";
import { StepRows } from "./step-rows.js";

export interface EngineLoopOptions {
  port: MessagePort;
  control: Int32Array;
  source: TextSource;
  engine: number;
  scheduler: Scheduler;
  contextSize: number;
  /** Logits of a row. */
  rowLength: number;
  /** Frees the native objects, at the end. */
  release: () => void;
}

interface LiveRequest {
  id: number;
  slot: number;
  sequence: Sequence;
  work: Generation | Scoring;
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

  constructor(options: EngineLoopOptions) {
    this.options_ = options;
    this.scheduler_ = options.scheduler;
    this.control_ = options.control;
    this.rows_ = new StepRows(options.scheduler.arrays, options.rowLength, (w, out) => {
      options.source.binding.engineLogits(options.engine, w, out);
    });
  }

  serve(): void {
    this.publish();
    this.options_.port.on("message", (message: ToWorker) => {
      this.receive(message);
      this.run();
    });
  }

  private run(): void {
    for (;;) {
      for (
        let next = receiveMessageOnPort(this.options_.port);
        next !== undefined;
        next = receiveMessageOnPort(this.options_.port)
      ) {
        this.receive(next.message as ToWorker);
      }
      if (this.stopped_) return;
      this.sweep();
      const step = this.scheduler_.compose();
      this.publish();
      if (step === null) return;
      this.runStep(step);
    }
  }

  private publish(): void {
    Atomics.store(this.control_, header.queued, this.scheduler_.queued);
    Atomics.store(this.control_, header.running, this.scheduler_.running);
    Atomics.store(this.control_, header.freePages, this.scheduler_.freePages);
  }

  private receive(message: ToWorker): void {
    if (this.stopped_) return;
    if (message.type === "stop") return this.stop();
    if (message.type === "wake") {
      const request = this.live_.get(message.id);
      if (request !== undefined) this.paceReader(request);
      return;
    }
    try {
      if (message.type === "profile") this.profile(message);
      // This worker keeps no K/V beyond a request: a history is its tokens alone.
      else if (message.type === "export")
        this.post({ type: "exported", id: message.id, pages: new Uint8Array(0), computed: 0 });
      else if (message.type === "import") this.post({ type: "imported", id: message.id });
      else this.admit(message);
    } catch (thrown) {
      this.fail(message.id, toLutraError(thrown));
    }
  }

  private admit(message: Extract<ToWorker, { type: "generate" | "score" }>): void {
    const { source, contextSize } = this.options_;
    const { id, slot } = message;
    if (this.flag(slot, slotWord.abort)) throw createError("ABORTED", "the request was aborted before it started");
    const tokens = encodePrompt(message.prompt, source);
    if (message.type === "score") {
      const work = this.createScoring(id, tokens, message);
      return this.enqueue(id, slot, work, work.windows[0] as Int32Array);
    }
    if (tokens.length === 0)
      throw createError("INVALID_OPTION", "prompt: expected at least one token, got an empty prompt");
    if (tokens.length > contextSize) throw contextOverflow(tokens.length, contextSize);
    this.enqueue(id, slot, new Generation(id, tokens, message, source, (reply) => this.post(reply)), tokens);
  }

  private profile({ id, reset }: Extract<ToWorker, { type: "profile" }>): void {
    const { source, engine } = this.options_;
    this.post({ type: "profiled", id, operators: source.binding.engineProfile(engine, reset) });
  }

  private createScoring(id: number, tokens: Int32Array, message: Extract<ToWorker, { type: "score" }>): Scoring {
    if (tokens.length < 2)
      throw createError("INVALID_OPTION", `text: expected at least 2 tokens to score, got ${tokens.length}`);
    const { vocab } = this.options_.source;
    const size = Math.min(message.contextSize || this.options_.contextSize, this.options_.contextSize);
    if (message.prompt.kind === "tokens" && tokens.length > size) throw contextOverflow(tokens.length, size);
    return new Scoring(id, tokens, cutWindows(tokens, size, vocab.addBos ? vocab.bos : -1));
  }

  private enqueue(id: number, slot: number, work: Generation | Scoring, prompt: Int32Array): void {
    const score = work instanceof Scoring;
    const room = score ? 0 : (work.params.maxTokens ?? this.options_.contextSize);
    const sequence = this.scheduler_.submit({
      id: this.nextSequence_++,
      prompt,
      maxPositions: prompt.length + room,
      abortIndex: slotIndex(slot, slotWord.abort),
      score,
    });
    const request = { id, slot, sequence, work };
    this.live_.set(id, request);
    this.bySequence_.set(sequence.id, request);
  }

  /** Ends the requests whose abort flag is set. Returns how many. */
  private sweep(): number {
    let ended = 0;
    for (const request of this.live_.values()) {
      if (!this.flag(request.slot, slotWord.abort)) continue;
      ended++;
      if (request.work instanceof Scoring) this.fail(request.id, createError("ABORTED", "the request was aborted"));
      else this.finish(request, "abort");
    }
    return ended;
  }

  private runStep(step: Step): void {
    const { source, engine } = this.options_;
    const { arrays } = this.scheduler_;
    this.rows_.prepare(step, (sequence) => this.generationOf(sequence));
    try {
      source.binding.engineStep(engine, step.shape, arrays);
    } catch (thrown) {
      const error = toLutraError(thrown);
      this.scheduler_.abandon();
      if (error.code === "ABORTED" && this.sweep() > 0) return;
      for (const { sequence } of step.spans) this.failSequence(sequence, error);
      return;
    }
    this.scheduler_.commit();
    Atomics.add(this.control_, header.steps, 1);
    this.reportPrompts(step);
    for (let w = 0; w < step.wanted.length; w++) {
      const { sequence, position } = step.wanted[w] as Step["wanted"][number];
      const request = this.bySequence_.get(sequence.id);
      if (request === undefined) continue;
      if (request.work instanceof Scoring) this.advanceScoring(request, request.work, w, position);
      else this.advance(request, request.work, step, w, position);
    }
  }

  private advance(request: LiveRequest, work: Generation, step: Step, w: number, position: number): void {
    try {
      const logSumExp = this.scheduler_.arrays.logSumExp[w] as number;
      const token = work.accept(this.rows_.candidatesOf(work, step, w), logSumExp, position + 1);
      if (token === null) this.finish(request, work.finishReason ?? "stop");
      else if (!this.scheduler_.append(request.sequence, token)) this.finish(request, "length");
      else this.paceReader(request);
    } catch (thrown) {
      this.fail(request.id, toLutraError(thrown));
    }
  }

  private advanceScoring(request: LiveRequest, work: Scoring, w: number, position: number): void {
    const { targetLogits, logSumExp } = this.scheduler_.arrays;
    try {
      work.accept(targetLogits[w] as number, logSumExp[w] as number);
      if (position < request.sequence.length - 2) return;
      this.forget(request);
      const next = work.windows[++work.window];
      if (next === undefined) this.post({ type: "scored", id: request.id, summary: work.summary() });
      else this.enqueue(request.id, request.slot, work, next);
    } catch (thrown) {
      this.fail(request.id, toLutraError(thrown));
    }
  }

  private reportPrompts(step: Step): void {
    for (const { sequence } of step.spans) {
      const request = this.bySequence_.get(sequence.id);
      if (!(request?.work instanceof Generation) || !request.work.reportProgress) continue;
      if (sequence.length > sequence.promptLength) continue;
      const { computed: processedTokens, promptLength: totalTokens } = sequence;
      this.post({ type: "prompt-progress", id: request.id, processedTokens, totalTokens });
    }
  }

  /** Pauses a sequence whose reader is too far behind, and lets one go on whose reader has caught up. */
  private paceReader(request: LiveRequest): void {
    if (!(request.work instanceof Generation)) return;
    const { slot, sequence } = request;
    const sent = request.work.sentTokens;
    const unread = (): number => sent - Atomics.load(this.control_, slotIndex(slot, slotWord.consumed));
    if (!sequence.paused) {
      if (unread() <= limits.maxUnreadTokens || this.flag(slot, slotWord.unbounded)) return;
      // The flag goes up before the last look at the counter: either we see what main took, or main sees the flag.
      this.setPaused(request, true);
    }
    if (unread() <= limits.maxUnreadTokens / 2 || this.flag(slot, slotWord.unbounded)) this.setPaused(request, false);
  }

  private setPaused(request: LiveRequest, paused: boolean): void {
    Atomics.store(this.control_, slotIndex(request.slot, slotWord.paused), paused ? 1 : 0);
    this.scheduler_.setPaused(request.sequence.id, paused);
  }

  private finish(request: LiveRequest, reason: "stop" | "length" | "abort"): void {
    this.forget(request);
    (request.work as Generation).finish(reason);
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

function contextOverflow(promptTokens: number, contextSize: number): LutraError {
  return createError(
    "CONTEXT_OVERFLOW",
    `the prompt has ${promptTokens} tokens, but the context holds ${contextSize}; shorten it or load with a larger contextSize`,
  );
}
