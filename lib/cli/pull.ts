/** `lutra pull`: a model into the cache. */
import { stat } from "node:fs/promises";
import type { Command } from "commander";
import { findModel } from "./input.js";
import { addJson, option } from "./options.js";
import { print, printJson, runCommand } from "./terminal.js";

interface PullFlags {
  offline?: boolean;
  json?: boolean;
}

export function registerPull(program: Command): void {
  const command = program
    .command("pull")
    .description("fetch a model into the cache (resumable, checksummed) and print its path")
    .argument("<name>", "a built-in name or hf:user/repo:file.gguf")
    .addOption(option("--offline", "only look into the cache"));
  addJson(command).action((name: string, flags: PullFlags) => runCommand((signal) => pull(name, flags, signal)));
}

async function pull(name: string, flags: PullFlags, signal: AbortSignal): Promise<void> {
  const path = await findModel({ model: name, offline: flags.offline }, signal);
  if (!flags.json) return print(`${path}\n`);
  const { listModels } = await import("../models/index.js");
  const cached = (await listModels()).find((model) => model.path === path);
  await printJson(cached ?? { name, path, size_bytes: (await stat(path)).size, sha256: null });
}
