/**
 * One engine worker that is started again when its thread ends. Its requests fail with WORKER_LOST; new ones wait for the
 * next thread. It never refers to a Model (client.ts says why).
 */
import { createError, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import { header } from "../worker/index.js";
import {
  EngineClient,
  type EngineStartOptions,
  type RequestHandle,
  type RequestMessage,
  type RequestSink,
} from "./client.js";
import { submitLater } from "./submit-later.js";

type Task = EngineStartOptions["task"];

/** Words that only grow; the others say how things are. */
const countingWords = [header.steps, header.preemptions];

export interface ReplicaOwner {
  /** What a thread that follows a lost one loads. */
  restartTask(): Task;
  /** The replica is given up: no thread runs, none will be started. */
  onGivenUp(error: LutraError): void;
}

export class Replica {
  private client_: EngineClient | undefined;
  private starting_: Promise<void> = Promise.resolve();
  private readonly owner_: ReplicaOwner;
  private readonly stopped_ = new AbortController();
  private waiting_ = 0;
  private losses_: number[] = [];
  /** What the threads before this one counted, by word. */
  private readonly past_ = new Map<number, number>();

  private constructor(owner: ReplicaOwner) {
    this.owner_ = owner;
  }

  static async start(options: Omit<EngineStartOptions, "onLost">, owner: ReplicaOwner): Promise<Replica> {
    const replica = new Replica(owner);
    replica.client_ = await EngineClient.start({ ...options, onLost: (error) => replica.lose(error) });
    return replica;
  }

  /** Undefined while no thread runs. */
  get client(): EngineClient | undefined {
    return this.client_;
  }

  /** Requests that were submitted and have not ended. */
  get activeRequests(): number {
    return this.waiting_ + (this.client_?.activeRequests ?? 0);
  }

  /** A word of control.ts's header. */
  count(word: number): number {
    return (this.past_.get(word) ?? 0) + (this.client_ === undefined ? 0 : Atomics.load(this.client_.control, word));
  }

  submit(message: RequestMessage, sink: RequestSink): RequestHandle {
    if (this.client_ !== undefined) return this.client_.submit(message, sink);
    if (this.waiting_ >= limits.maxQueuedRequests) {
      throw createError("QUEUE_FULL", `${this.waiting_} requests wait for the engine to start again; try again later`);
    }
    this.waiting_++;
    const started = this.starting_.finally(() => this.waiting_--);
    let cancel!: (reason: LutraError) => void;
    const cancelled = new Promise<never>((_, reject) => {
      cancel = reject;
    });
    return submitLater(Promise.race([started, cancelled]), () => this.submit(message, sink), sink, cancel);
  }

  /** Ends the thread, also one that is only starting. */
  async stop(reason: LutraError): Promise<void> {
    this.stopped_.abort(reason);
    await this.starting_.catch(() => {});
    await this.client_?.stop(reason);
  }

  private lose(error: LutraError): void {
    for (const word of countingWords) this.past_.set(word, this.count(word));
    this.client_ = undefined;
    const now = performance.now();
    this.losses_ = [...this.losses_.filter((at) => now - at < limits.workerLossWindowMs), now];
    const often = this.losses_.length >= limits.maxWorkerLosses;
    this.starting_ = often ? Promise.reject(lostTooOften(error)) : this.restart();
    this.starting_.catch((thrown: unknown) => this.owner_.onGivenUp(toLutraError(thrown)));
  }

  private async restart(): Promise<void> {
    const { signal } = this.stopped_;
    const task = this.owner_.restartTask();
    try {
      const onLost = (error: LutraError): void => this.lose(error);
      this.client_ = await EngineClient.start({ task, onLoadProgress: undefined, signal, onLost });
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      const { message } = toLutraError(thrown);
      throw createError("WORKER_LOST", `the engine's worker thread ended, and starting it again failed: ${message}`);
    }
  }
}

function lostTooOften(error: LutraError): LutraError {
  const { maxWorkerLosses, workerLossWindowMs } = limits;
  const often = `${maxWorkerLosses} times within ${workerLossWindowMs / 1000} s`;
  return createError("WORKER_LOST", `${error.message}; that was ${often}: load the model again`);
}
