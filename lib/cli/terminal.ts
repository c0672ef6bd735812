/**
 * What every command shares with the terminal. Text goes to stdout, everything else to stderr; bars only on a terminal.
 * Exit codes: 0 done, 1 failed with a one-line reason, 2 usage, 130 interrupted.
 */
import { setMaxListeners } from "node:events";
import { CommanderError } from "commander";
import { InvalidOptionError, toLutraError } from "../errors.js";

/** A wrong way to call the command line. */
export class UsageError extends Error {}

/** A reader that went away (`lutra … | head`) ends the process quietly. */
export function endQuietlyOnClosedStdout(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  process.stderr.on("error", () => {});
}

/** Writes text as it is, and waits while the reader is slow. */
export async function print(text: string): Promise<void> {
  if (text === "" || process.stdout.write(text)) return;
  await new Promise((resolve) => process.stdout.once("drain", resolve));
}

export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value, null, 2)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Runs a command's work: the first Ctrl-C aborts it, the second ends the process. */
export async function runCommand(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  // Every request of a command listens to it, and Node warns of more than ten listeners.
  setMaxListeners(0, signal);
  const interrupt = () => {
    if (signal.aborted) process.exit(130);
    controller.abort(new Error("interrupted"));
  };
  process.on("SIGINT", interrupt);
  try {
    await work(signal);
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  } finally {
    process.off("SIGINT", interrupt);
  }
  if (signal.aborted) process.exitCode = 130;
}

/** Prints the one-line reason and sets the exit code. */
export function reportFailure(thrown: unknown): void {
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? 0 : 2;
    return;
  }
  if (thrown instanceof UsageError) {
    note(usageLine(thrown.message));
    process.exitCode = 2;
    return;
  }
  const error = toLutraError(thrown);
  note(`lutra: ${flatten(error.message)} (${error.code})`);
  if (error.code === "INTERNAL" && process.env["LUTRA_DEBUG"]) note(String(error.stack));
  process.exitCode = error instanceof InvalidOptionError ? 2 : 1;
}

export function usageLine(message: string): string {
  return `lutra: ${flatten(message.replace(/^error: /, ""))} (USAGE)`;
}

function flatten(text: string): string {
  return text
    .trim()
    .replace(/:\s*\n\s*/g, ": ")
    .replace(/\s*\n\s*/g, "; ");
}

export interface Bar {
  update(done: number, total: number): void;
  stop(): void;
}

const barScales = { MB: 1e6, kB: 1e3, tokens: 1, "million weights": 1e6 };

/** A progress bar on stderr; nothing when stderr is not a terminal. */
export async function createBar(title: string, unit: keyof typeof barScales): Promise<Bar> {
  if (!process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const { default: progress } = await import("cli-progress");
  const scale = barScales[unit];
  const bar = new progress.SingleBar({
    format: `${title} {bar} {percentage}% | {value}/{total} ${unit}`,
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: null,
    barCompleteChar: "█",
    barIncompleteChar: "░",
  });
  let started = false;
  return {
    update: (done, total) => {
      if (total <= 0) return;
      if (!started) bar.start(Math.ceil(total / scale), 0);
      started = true;
      bar.update(Math.floor(done / scale));
    },
    stop: () => {
      if (started) bar.stop();
      started = false;
    },
  };
}

/** A spinner while work without a measure runs, on a terminal only. */
export async function spin<T>(text: string, work: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work();
  const { default: ora } = await import("ora");
  const spinner = ora({ text, stream: process.stderr, discardStdin: false, hideCursor: false }).start();
  try {
    return await work();
  } finally {
    spinner.stop();
  }
}
