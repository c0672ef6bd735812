/** `lutra models`: what is in the cache, and removing it. */
import type { Command } from "commander";
import { addJson } from "./options.js";
import { note, print, printJson, runCommand } from "./terminal.js";

interface ModelsFlags {
  json?: boolean;
}

export function registerModels(program: Command): void {
  const command = addJson(program.command("models").description("list the models in the cache"));
  command.action((flags: ModelsFlags) => runCommand(() => list(flags)));
  const remove = command
    .command("rm")
    .description("remove a model from the cache")
    .argument("<name>", "a name as `lutra models` shows it");
  addJson(remove).action((name: string, _: ModelsFlags, self: Command) =>
    runCommand(() => removeOne(name, self.optsWithGlobals<ModelsFlags>())),
  );
}

async function list(flags: ModelsFlags): Promise<void> {
  const { builtinModels, cacheFolder, listModels } = await import("../models/index.js");
  const cached = await listModels();
  if (flags.json) return printJson(cached);
  for (const { name, path, size_bytes } of cached) await print(`${name}\t${megabytes(size_bytes)}\t${path}\n`);
  for (const { name, sizeBytes, licence } of builtinModels) {
    if (cached.some((model) => model.name === name)) continue;
    note(`not pulled: ${name} (${megabytes(sizeBytes)}, ${licence}); \`lutra pull ${name}\``);
  }
  if (cached.length === 0) note(`the cache is empty: ${cacheFolder()}`);
}

async function removeOne(name: string, flags: ModelsFlags): Promise<void> {
  const { removeModel } = await import("../models/index.js");
  const removed = await removeModel(name);
  if (flags.json) return printJson({ name, removed });
  for (const path of removed) note(`removed ${path}`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
