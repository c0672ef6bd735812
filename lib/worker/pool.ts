/**
 * One worker thread per model, kept by piscina. The piscina task loads the model and leaves an engine behind that serves
 * its own port: a task that never ended would keep the process alive, and piscina would terminate the thread of a task
 * it was told to abort.
 */
import { join } from "node:path";
import { MessageChannel, type MessagePort } from "node:worker_threads";
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

export function startEngineWorker(task: Omit<EngineTask, "port">): EngineWorker {
  const pool = new Piscina({
    filename: join(here, "..", "worker", "entry.js"),
    minThreads: 1,
    maxThreads: 1,
    idleTimeout: Infinity,
    atomics: "disabled",
    recordTiming: false,
    // The process's own flags (loaders, an inspector) are not for the engine.
    execArgv: [],
  });
  // An error after the load, with no task running: the exit listener reports it.
  pool.on("error", () => {});
  const thread = pool.threads[0];
  if (thread === undefined) throw new Error("piscina started no thread");
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
