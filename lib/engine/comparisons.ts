/**
 * The comparisons of a model with its exact self: each runs on a thread of its own, beside the model's engines, one after the
 * other, since each takes memory and processors of two engines.
 */
import { createError, type LutraError, toLutraError } from "../errors.js";
import {
  type Comparison,
  type ComparisonReply,
  type ComparisonTask,
  createControl,
  header,
  runOnThread,
} from "../worker/index.js";
import { forgetControl, stopAtExit } from "./exit.js";

/** What all comparisons of a model have in common. */
export type ComparedModel = Pick<
  ComparisonTask,
  "model" | "isa" | "threads" | "kvCacheType" | "matmul" | "attention" | "ffnSparsity"
>;
export type ComparisonRequest = Omit<ComparisonTask, keyof ComparedModel | "control">;

export class Comparisons {
  private readonly compared_: ComparedModel;
  private readonly cancels_ = new Set<(reason: LutraError) => void>();
  /** Settles when nothing runs or waits. */
  private last_: Promise<unknown> = Promise.resolve();
  private closed_: LutraError | undefined;

  constructor(compared: ComparedModel) {
    this.compared_ = compared;
  }

  /** @throws LutraError: the task's own, `signal`'s, the reason of close(), WORKER_LOST */
  async run(request: ComparisonRequest, signal: AbortSignal | undefined): Promise<Comparison> {
    if (this.closed_ !== undefined) throw this.closed_;
    const control = createControl();
    let cancelled: LutraError | undefined;
    let cancel!: (reason: LutraError) => void;
    const cancellation = new Promise<void>((resolve) => {
      cancel = (reason) => {
        cancelled ??= reason;
        Atomics.store(control, header.stop, 1);
        resolve();
      };
    });
    const onAbort = (): void =>
      cancel(createError("ABORTED", "the request was aborted by its signal", { cause: signal?.reason }));
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.cancels_.add(cancel);
    stopAtExit(control);
    const before = this.last_;
    let leave!: () => void;
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.last_ = Promise.all([before, left]);
    try {
      await Promise.race([before, cancellation]);
      if (cancelled !== undefined) throw cancelled;
      return await runTask({ ...this.compared_, ...request, control });
    } catch (thrown) {
      throw cancelled ?? toLutraError(thrown);
    } finally {
      leave();
      this.cancels_.delete(cancel);
      signal?.removeEventListener("abort", onAbort);
      forgetControl(control);
    }
  }

  /** Ends what waits and what runs with `reason`; settles when nothing is in flight. */
  async close(reason: LutraError): Promise<void> {
    this.closed_ ??= reason;
    for (const cancel of this.cancels_) cancel(this.closed_);
    await this.last_;
  }
}

async function runTask(task: ComparisonTask): Promise<Comparison> {
  let reply: ComparisonReply;
  try {
    reply = (await runOnThread("comparison.js", task)) as ComparisonReply;
  } catch (thrown) {
    throw createError("WORKER_LOST", `the thread that compares ended: ${toLutraError(thrown).message}; try again`);
  }
  if (!reply.ok) throw createError(reply.error.code, reply.error.message);
  return reply.comparison;
}
