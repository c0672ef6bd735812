/**
 * The peer that `--peer` measures beside Lutra: node-llama-cpp, the user's own copy, never a dependency of this package.
 * It runs in a child process (peer-child.ts) that sleeps while Lutra works.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { packageRoot } from "../binding/index.js";
import { createError, type LutraError } from "../errors.js";
import type { PeerReply, PeerTask } from "./peer-child.js";
import type { Sample } from "./streams.js";
import { type BenchTest, streamPrompts } from "./tests.js";

export const peerName = "node-llama-cpp";

const maxErrorBytes = 2048;

/**
 * The peer's package folder, or null: in LUTRA_PEER's node_modules when that is set, else where Node would look from the
 * current folder and from this package, else in build/peer, where a clone of Lutra installs it.
 */
export function findPeer(): string | null {
  const named = process.env["LUTRA_PEER"];
  const folders = named
    ? [resolve(named)]
    : [...foldersAbove(process.cwd()), ...foldersAbove(packageRoot()), join(packageRoot(), "build", "peer")];
  const found = folders.map((folder) => join(folder, "node_modules", peerName));
  return found.find((folder) => existsSync(join(folder, "package.json"))) ?? null;
}

function foldersAbove(folder: string): string[] {
  const above = dirname(folder);
  return above === folder ? [folder] : [folder, ...foldersAbove(above)];
}

export function peerVersion(folder: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version?: unknown };
  return String(manifest.version ?? "of unknown version");
}

export interface PeerOptions {
  folder: string;
  /** The model file. */
  path: string;
  threads: number;
  contextSize: number;
  vocabSize: number;
  signal: AbortSignal;
}

export class PeerProcess {
  private constructor(
    private readonly child_: ChildProcess,
    private readonly options_: PeerOptions,
    private readonly errors_: { text: string },
  ) {}

  /** Starts the process and loads the model in it. @throws LutraError (PEER_FAILED) */
  static async start(options: PeerOptions): Promise<PeerProcess> {
    const { folder, path, threads, contextSize } = options;
    const script = fileURLToPath(new URL("./peer-child.js", import.meta.url));
    // Its standard output is nobody's; what it says on stderr is told when it fails.
    const child = fork(script, [folder, String(threads)], { execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const errors = { text: "" };
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors.text = (errors.text + text).slice(-maxErrorBytes);
    });
    const peer = new PeerProcess(child, options, errors);
    try {
      await peer.ask({ task: "load", path, contextSize });
    } catch (thrown) {
      await peer[Symbol.asyncDispose]();
      throw thrown;
    }
    return peer;
  }

  async measure(test: BenchTest, round: number): Promise<Sample> {
    const { kind, n, depth } = test;
    const prompts = streamPrompts(test, this.options_.vocabSize, round);
    const result = await this.ask({ task: "measure", kind, n, depth, prompts });
    if (result === null) throw peerFailed("it measured nothing");
    return { ...result, steps: null };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.child_;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  private async ask(task: PeerTask): Promise<Extract<PeerReply, { result: unknown }>["result"]> {
    const child = this.child_;
    const done = new AbortController();
    const options = { signal: AbortSignal.any([this.options_.signal, done.signal]) };
    const answer = once(child, "message", options).then(([reply]) => reply as PeerReply);
    const end = once(child, "exit", options).then(([code]): PeerReply => ({ error: this.epitaph(code) }));
    try {
      if (!child.connected) throw peerFailed(this.epitaph(child.exitCode));
      child.send(task, () => {});
      const reply = await Promise.race([answer, end]);
      if ("error" in reply) throw peerFailed(reply.error);
      return reply.result;
    } finally {
      done.abort();
      await Promise.allSettled([answer, end]);
    }
  }

  private epitaph(code: number | null): string {
    return `its process ended with ${code === null ? "a signal" : `code ${code}`}. ${this.errors_.text.trim()}`;
  }
}

function peerFailed(reason: string): LutraError {
  return createError("PEER_FAILED", `${peerName}: ${reason}`);
}
