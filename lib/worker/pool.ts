/**
 * Threads, kept by piscina: one for each engine, those of short-tasks.ts, and one for each comparison. The piscina task of an
 * engine loads the model and leaves an engine behind that serves its own port: a task that never ended would keep the process
 * alive, and piscina would terminate the thread of a task it was told to abort.
 */
import { join } from "node:path";
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { here } from "../binding/index.js";
import type { EngineTask, LoadReply } from "./protocol.js";

export interface EngineWorker {
  port: MessagePort;
  /** Settles when the load is done; rejects when the worker died in it. */
  loaded: Promise<LoadReply>;
  /** Called once when the thread ends, whoever ended it. */
  onExit(listener: (code: number) => void): void;
  /** Ends the thread. Native work in flight ends first. */
  terminate(): Promise<void>;
  /** For lifecycle tests. */
  threadId: number;
}

/**
 * A piscina of one thread that runs the default export of `entry`. The thread starts now and takes its tasks from the
 * start, so a task belongs to it at once and fails with it, however early it ends. No task is given an abort signal, or
 * ever waits in piscina's own queue, which nobody would serve again after a thread that ends while it starts.
 */
export function startThread(entry: string): { pool: Piscina; thread: Worker } {
  const pool = new Piscina({
    filename: join(here, "..", "worker", entry),
    minThreads: 1,
    maxThreads: 1,
    idleTimeout: Infinity,
    // An idle thread must hear the messages of other ports.
    atomics: "disabled",
    recordTiming: false,
    // The process's own flags (loaders, an inspector) are not for these threads.
    execArgv: [],
  });
  // An error with no task running: the exit listener reports it.
  pool.on("error", () => {});
  const thread = pool.threads[0];
  if (thread === undefined) throw new Error("piscina started no thread");
  return { pool, thread };
}

/** Runs one task on a thread that ends with it. Rejects when the thread ended first. */
export async function runOnThread(entry: string, task: unknown): Promise<unknown> {
  const { pool } = startThread(entry);
  try {
    return await pool.run(task);
  } finally {
    await pool.destroy();
  }
}

export function startEngineWorker(task: Omit<EngineTask, "port">): EngineWorker {
  const { pool, thread } = startThread("entry.js");
  const { port1, port2 } = new MessageChannel();
  const loaded = pool.run({ ...task, port: port2 } satisfies EngineTask, {
    transferList: [port2],
  }) as Promise<LoadReply>;
  return {
    port: port1,
    loaded,
    onExit: (listener) => void thread.once("exit", listener),
    terminate: () => pool.destroy(),
    threadId: thread.threadId,
  };
}
