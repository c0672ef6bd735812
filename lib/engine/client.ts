/**
 * Main's end of one engine worker: starts it, gives every request an id and a slot of shared words, and hands its
 * messages to the request. It never refers to a Model, so a Model nobody holds can be collected while it idles.
 */
import { receiveMessageOnPort } from "node:worker_threads";
import { createError, describeValue, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import {
  controlSlots,
  createControl,
  type EngineTask,
  type EngineWorker,
  type FromWorker,
  header,
  type LoadedEngine,
  type LoadReply,
  slotIndex,
  slotWord,
  startEngineWorker,
  type ToWorker,
} from "../worker/index.js";
import { forgetControl, stopAtExit } from "./exit.js";

/** Where the messages of one request go. Exactly one of `done` messages or `onFailure` ends it. */
export interface RequestSink {
  onMessage(message: FromWorker): void;
  onFailure(error: LutraError): void;
}

type StartMessage = { [K in ToWorker["type"]]: Extract<ToWorker, { type: K }> }[
  | "generate"
  | "score"
  | "embed"
  | "profile"
  | "sparsity"
  | "export"
  | "import"];
export type RequestMessage = StartMessage extends infer M
  ? M extends unknown
    ? Omit<M, "id" | "slot">
    : never
  : never;

export interface RequestHandle {
  abort(): void;
  /** The reader took `tokens` tokens; `unread` are left in main's buffer. */
  consumed(tokens: number, unread: number): void;
  /** Never pause this request for its reader. */
  unbound(): void;
}

interface ActiveRequest {
  slot: number;
  sink: RequestSink;
}

export interface EngineStartOptions {
  task: Omit<EngineTask, "port" | "control">;
  onLoadProgress: ((progress: { loadedBytes: number; totalBytes: number }) => void) | undefined;
  signal: AbortSignal | undefined;
  /** The loaded engine's thread ended by itself. Its requests are failing with this error. */
  onLost: (error: LutraError) => void;
}

export class EngineClient {
  readonly loaded: LoadedEngine;
  readonly control: Int32Array;
  readonly worker: EngineWorker;
  private readonly active_ = new Map<number, ActiveRequest>();
  private readonly freeSlots_ = Array.from({ length: controlSlots }, (_, i) => controlSlots - 1 - i);
  private nextId_ = 1;
  private stopping_: Promise<void> | undefined;
  private ended_: LutraError | undefined;
  private acknowledgeStop_: () => void = () => {};
  private readonly onLost_: (error: LutraError) => void;

  private constructor(
    worker: EngineWorker,
    control: Int32Array,
    loaded: LoadedEngine,
    onLost: (error: LutraError) => void,
  ) {
    this.worker = worker;
    this.onLost_ = onLost;
    this.control = control;
    this.loaded = loaded;
    worker.port.on("message", (message: FromWorker) => this.receive(message));
    worker.port.unref();
    worker.onExit((code) => this.workerEnded(code));
  }

  static async start(options: EngineStartOptions): Promise<EngineClient> {
    const { signal } = options;
    const control = createControl();
    stopAtExit(control);
    const worker = startEngineWorker({ ...options.task, control });
    const onAbort = (): void => void Atomics.store(control, header.stop, 1);
    signal?.addEventListener("abort", onAbort, { once: true });
    let callbackError: { thrown: unknown } | undefined;
    const onMessage = (message: FromWorker): void => {
      if (message.type !== "load-progress" || callbackError !== undefined) return;
      try {
        options.onLoadProgress?.({ loadedBytes: message.loadedBytes, totalBytes: message.totalBytes });
      } catch (thrown) {
        callbackError = { thrown };
        onAbort();
      }
    };
    worker.port.on("message", onMessage);
    try {
      const reply = await settleLoad(worker);
      worker.port.off("message", onMessage);
      // The reply came by another port and may have overtaken the last progress.
      for (let left = receiveMessageOnPort(worker.port); left !== undefined; left = receiveMessageOnPort(worker.port)) {
        onMessage(left.message as FromWorker);
      }
      if (callbackError === undefined && reply.ok && !signal?.aborted)
        return new EngineClient(worker, control, reply.engine, options.onLost);
      forgetControl(control);
      await worker.terminate();
      worker.port.close();
      if (callbackError !== undefined) throw callbackFailure("onLoadProgress", callbackError.thrown);
      if (signal?.aborted) throw createError("ABORTED", "loading was aborted", { cause: signal.reason });
      throw reply.ok ? createError("INTERNAL", "unreachable") : createError(reply.error.code, reply.error.message);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Requests that were submitted and have not ended. */
  get activeRequests(): number {
    return this.active_.size;
  }

  get ended(): LutraError | undefined {
    return this.ended_;
  }

  submit(message: RequestMessage, sink: RequestSink): RequestHandle {
    if (this.ended_ !== undefined) throw this.ended_;
    const slot = this.freeSlots_.pop();
    if (slot === undefined) {
      throw createError(
        "QUEUE_FULL",
        `${this.active_.size} requests are alive (${limits.maxQueuedRequests} may wait); try again later`,
      );
    }
    const id = this.nextId_++;
    for (let word = 0; word < slotWord.words; word++) Atomics.store(this.control, slotIndex(slot, word), 0);
    this.active_.set(id, { slot, sink });
    if (this.active_.size === 1) this.worker.port.ref();
    this.send({ ...message, id, slot } as ToWorker);
    return this.handleOf(id, slot);
  }

  /** Nothing of this namespace is needed any more. */
  forget(namespace: number): void {
    if (this.ended_ === undefined) this.send({ type: "forget", namespace });
  }

  /** Ends the engine: the running step stops at its next layer, every request fails with `reason`. Idempotent. */
  stop(reason: LutraError): Promise<void> {
    this.stopping_ ??= this.stopWorker(reason);
    return this.stopping_;
  }

  private async stopWorker(reason: LutraError): Promise<void> {
    const lost = this.ended_ !== undefined;
    this.ended_ ??= reason;
    if (!lost) {
      for (const { slot } of this.active_.values()) Atomics.store(this.control, slotIndex(slot, slotWord.abort), 1);
      const acknowledged = new Promise<void>((resolve) => {
        this.acknowledgeStop_ = resolve;
      });
      this.worker.port.ref();
      this.send({ type: "stop" });
      await acknowledged;
    }
    await this.worker.terminate();
    this.worker.port.close();
    forgetControl(this.control);
    this.failAll(this.ended_);
  }

  private handleOf(id: number, slot: number): RequestHandle {
    const alive = (): boolean => this.active_.get(id)?.slot === slot;
    const { control } = this;
    return {
      abort: () => {
        if (!alive()) return;
        Atomics.store(control, slotIndex(slot, slotWord.abort), 1);
        this.send({ type: "wake", id });
      },
      consumed: (tokens, unread) => {
        if (!alive()) return;
        Atomics.add(control, slotIndex(slot, slotWord.consumed), tokens);
        const paused = Atomics.load(control, slotIndex(slot, slotWord.paused)) !== 0;
        if (paused && unread <= limits.maxUnreadTokens / 2) this.send({ type: "wake", id });
      },
      unbound: () => {
        if (!alive() || Atomics.exchange(control, slotIndex(slot, slotWord.unbounded), 1) !== 0) return;
        this.send({ type: "wake", id });
      },
    };
  }

  private send(message: ToWorker): void {
    // The K/V of a session may be hundreds of megabytes: moved, not copied.
    this.worker.port.postMessage(message, message.type === "import" ? [message.pages.buffer as ArrayBuffer] : []);
  }

  private receive(message: FromWorker): void {
    if (message.type === "stopped") return this.acknowledgeStop_();
    if (message.type === "load-progress") return;
    const request = this.active_.get(message.id);
    if (request === undefined) return;
    const last = ["generated", "scored", "embedded", "exported", "imported", "profiled", "sparsity", "failed"].includes(
      message.type,
    );
    if (last) this.retire(message.id, request);
    // dispose() stops the step by the requests' own abort flags, so theirs may look like aborts.
    const stopped =
      message.type === "failed" || (message.type === "generated" && message.summary.finishReason === "abort");
    if (stopped && this.stopping_ !== undefined && this.ended_ !== undefined) request.sink.onFailure(this.ended_);
    else if (message.type === "failed") request.sink.onFailure(createError(message.error.code, message.error.message));
    else request.sink.onMessage(message);
  }

  private retire(id: number, request: ActiveRequest): void {
    this.active_.delete(id);
    this.freeSlots_.push(request.slot);
    if (this.active_.size === 0 && this.stopping_ === undefined) this.worker.port.unref();
  }

  private workerEnded(code: number): void {
    this.acknowledgeStop_();
    if (this.stopping_ !== undefined) return;
    const lost = createError("WORKER_LOST", `the engine's worker thread ended (exit code ${code})`);
    this.ended_ = lost;
    void this.stop(lost);
    this.onLost_(lost);
  }

  private failAll(error: LutraError): void {
    for (const [id, request] of [...this.active_]) {
      this.retire(id, request);
      request.sink.onFailure(error);
    }
  }
}

/** What a caller gets when a callback of theirs threw, whatever it threw. */
export function callbackFailure(name: string, thrown: unknown): LutraError {
  return createError("CALLBACK_FAILED", `${name} threw ${describeThrown(thrown)}`, { cause: thrown });
}

/** Never throws itself, whatever was thrown. */
function describeThrown(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return `an error: ${thrown.message}`;
  } catch {
    // A proxy that cannot be read.
  }
  return describeValue(thrown);
}

async function settleLoad(worker: EngineWorker): Promise<LoadReply> {
  try {
    return await worker.loaded;
  } catch (thrown) {
    const message = `the engine's worker thread ended while it loaded: ${toLutraError(thrown).message}`;
    return { ok: false, error: { code: "WORKER_LOST", message } };
  }
}
