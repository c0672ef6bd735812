/** Text and models that commands take in. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { createError } from "../errors.js";
import type { Model } from "../engine/index.js";
import { type PullProgress, resolveModel } from "../models/index.js";
import type { LoadOptions } from "../types.js";
import type { ModelFlags } from "./options.js";
import { createBar, note, UsageError } from "./terminal.js";

export interface TextFlags {
  prompt?: string;
  file?: string;
}

/** Where the text comes from: the argument, -p or -f (in that order of closeness), else stdin. */
export function textSource(
  argument: string | undefined,
  flags: TextFlags,
  command: Command,
): "argument" | "prompt" | "file" | "stdin" {
  const typed = (["prompt", "file"] as const).filter((name) => command.getOptionValueSource(name) === "cli");
  if (typed.length + (argument === undefined ? 0 : 1) > 1)
    throw new UsageError("give the text once: as an argument, with -p or with -f");
  if (argument !== undefined) return "argument";
  // A flag that was typed wins over one from the environment.
  return typed[0] ?? (["prompt", "file"] as const).find((name) => flags[name] !== undefined) ?? "stdin";
}

export async function readText(
  argument: string | undefined,
  flags: TextFlags,
  command: Command,
): Promise<{ text: string; piped: boolean }> {
  const source = textSource(argument, flags, command);
  if (source === "argument") return { text: argument as string, piped: false };
  if (source === "prompt") return { text: flags.prompt as string, piped: false };
  if (source === "file") return { text: await readTextFile(flags.file as string), piped: true };
  if (process.stdin.isTTY) throw new UsageError("no text: give it as an argument, with -f FILE or on stdin");
  const text = await readStdin();
  if (text === "") throw new UsageError("no text: stdin is empty, and no argument or -f FILE was given");
  return { text, piped: true };
}

/** Invalid UTF-8 becomes U+FFFD. */
export async function readTextFile(path: string): Promise<string> {
  if (path === "-") return readStdin();
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw createError("E_IO", `cannot read ${path}: ${(thrown as NodeJS.ErrnoException).code ?? thrown}`, {
      cause: thrown,
    });
  }
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Shows a pull: a bar on a terminal, else one line for each source. */
export async function pullReporter(
  name: string,
): Promise<{ onPullProgress: (progress: PullProgress) => void; stop: () => void }> {
  const bar = await createBar(`pull ${name}`, "MB");
  let source: string | undefined;
  return {
    onPullProgress: (progress) => {
      if (progress.source !== source) note(`pulling ${name} from ${progress.source}`);
      source = progress.source;
      bar.update(progress.receivedBytes, progress.totalBytes);
    },
    stop: () => bar.stop(),
  };
}

/** Path of the model file, pulled when it must be. */
export async function findModel(flags: Pick<ModelFlags, "model" | "offline">, signal: AbortSignal): Promise<string> {
  const { onPullProgress, stop } = await pullReporter(flags.model);
  try {
    return await resolveModel(flags.model, { offline: flags.offline, onPullProgress, signal });
  } finally {
    stop();
  }
}

export async function openModel(flags: ModelFlags, options: Partial<LoadOptions>, signal: AbortSignal): Promise<Model> {
  const { loadModel } = await import("../engine/index.js");
  const model = await withProgress(flags, (common) =>
    loadModel(flags.model, { ...common, maxSequences: 1, signal, ...options }),
  );
  // Whoever asked for an approximation and does not get it should know before a long run.
  const { warnings } = model.info;
  const isMissing =
    model.metrics().attentionFallbacks > 0 || warnings.some((text) => /^(ffnSparsity|speculation)/.test(text));
  if (isMissing) for (const warning of warnings) note(`lutra: ${warning}`);
  return model;
}

type CommonOptions = Pick<LoadOptions, "threads" | "isa" | "offline" | "onPullProgress" | "onLoadProgress">;

/** Loads with the flags of every command that computes, and shows how far it is. */
export async function withProgress<T>(flags: ModelFlags, load: (options: CommonOptions) => Promise<T>): Promise<T> {
  const pulling = await pullReporter(flags.model);
  const loading = await createBar("load", "MB");
  const { threads, isa, offline } = flags;
  const { onPullProgress } = pulling;
  const onLoadProgress: LoadOptions["onLoadProgress"] = ({ loadedBytes, totalBytes }) => {
    pulling.stop();
    loading.update(loadedBytes, totalBytes);
  };
  try {
    return await load({ threads, isa, offline, onPullProgress, onLoadProgress });
  } finally {
    pulling.stop();
    loading.stop();
  }
}
