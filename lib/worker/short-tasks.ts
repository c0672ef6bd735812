/**
 * Short work on text that must block neither the caller's thread nor an engine's step loop: rendering chats and encoding
 * long texts. At most two threads for all models together, started when a task needs one, ended when they idle; they never
 * keep the process alive. Tasks start in order of arrival, and each runs to its end: a thread inside native code is never
 * terminated, so cancelling takes a task out of the queue, or drops its answer.
 */
import type { Worker } from "node:worker_threads";
import { createError, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import { startThread } from "./pool.js";
import type { EncodedTexts, ShortReply, ShortTask } from "./short-task.js";

export interface ShortTaskRun {
  /** Rejects with the task's own error, or with WORKER_LOST when its thread ended. */
  encoded: Promise<EncodedTexts>;
  /** `encoded` rejects with `reason`: at once while the task waits, else when its thread is done with it. */
  cancel(reason: LutraError): void;
}

interface Entry {
  task: ShortTask;
  resolve: (encoded: EncodedTexts) => void;
  reject: (error: LutraError) => void;
  cancelled: LutraError | undefined;
}

interface TextThread {
  started: ReturnType<typeof startThread> | undefined;
  busy: boolean;
  idle: NodeJS.Timeout | undefined;
}

const maxThreads = 2;

const waiting = new Set<Entry>();
const threads: TextThread[] = Array.from({ length: maxThreads }, () => ({
  started: undefined,
  busy: false,
  idle: undefined,
}));

/** @throws QueueFullError */
export function runShortTask(task: ShortTask): ShortTaskRun {
  if (waiting.size >= limits.maxShortTasks) {
    throw createError("QUEUE_FULL", `${waiting.size} texts wait to be encoded already; try again later`);
  }
  let entry!: Entry;
  const encoded = new Promise<EncodedTexts>((resolve, reject) => {
    entry = { task, resolve, reject, cancelled: undefined };
  });
  waiting.add(entry);
  dispatch();
  const cancel = (reason: LutraError): void => {
    entry.cancelled ??= reason;
    if (waiting.delete(entry)) entry.reject(reason);
  };
  return { encoded, cancel };
}

/** Threads that are alive, for lifecycle tests. */
export function shortTaskThreads(): Worker[] {
  return threads.flatMap(({ started }) => (started === undefined ? [] : [started.thread]));
}

function dispatch(): void {
  for (const entry of waiting) {
    const free = threads.filter(({ busy }) => !busy);
    const thread = free.find(({ started }) => started !== undefined) ?? free[0];
    if (thread === undefined) return;
    waiting.delete(entry);
    void runOn(thread, entry);
  }
}

async function runOn(thread: TextThread, entry: Entry): Promise<void> {
  thread.busy = true;
  clearTimeout(thread.idle);
  try {
    thread.started ??= startFor(thread);
    const reply = (await thread.started.pool.run(entry.task)) as ShortReply;
    if (entry.cancelled !== undefined) entry.reject(entry.cancelled);
    else if (reply.ok) entry.resolve(reply.encoded);
    else entry.reject(createError(reply.error.code, reply.error.message));
  } catch (thrown) {
    // The task answers with its errors, so this is the end of its thread.
    end(thread);
    const message = `the thread that encodes texts ended: ${toLutraError(thrown).message}; try again`;
    entry.reject(entry.cancelled ?? createError("WORKER_LOST", message));
  }
  thread.busy = false;
  thread.idle = setTimeout(() => end(thread), limits.shortTaskIdleMs).unref();
  dispatch();
}

function startFor(thread: TextThread): ReturnType<typeof startThread> {
  const started = startThread("short-task.js");
  started.thread.once("exit", () => {
    if (thread.started === started) end(thread);
  });
  return started;
}

/** Ends the thread, and the one that piscina may have started in its place. */
function end(thread: TextThread): void {
  void thread.started?.pool.destroy();
  thread.started = undefined;
}
