/** `lutra doctor`: what this machine gives the engine. */
import type { Command } from "commander";
import { addJson, option, positive } from "./options.js";
import { print, printJson, reportFailure, runCommand } from "./terminal.js";
import { createError } from "../errors.js";

interface DoctorFlags {
  threads?: number;
  json?: boolean;
}

export function registerDoctor(program: Command): void {
  const command = program
    .command("doctor")
    .description("what this machine gives: instruction sets, threads, binary, memory speed, cache folder")
    .addOption(option("-t, --threads <n>", "threads of the memory measurement", positive));
  addJson(command).action((flags: DoctorFlags) => runCommand(() => doctor(flags)));
}

async function doctor(flags: DoctorFlags): Promise<void> {
  const [{ binding, bindingReport }, { cacheFolder, listModels }, { measureCeiling }] = await Promise.all([
    import("../binding/index.js"),
    import("../models/index.js"),
    import("../bench/index.js"),
  ]);
  const { path, abiVersion, attempts, error } = bindingReport();
  const cpu = path === null ? null : binding.cpu();
  const threads = flags.threads ?? cpu?.threads ?? 1;
  const report = {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    binary: { path, abi_version: abiVersion, tried: attempts },
    isa: cpu?.isa ?? null,
    isa_available: cpu?.available ?? [],
    threads: cpu?.threads ?? null,
    threads_reason: cpu?.threadsReason ?? null,
    available_memory_bytes: cpu?.availableMemoryBytes ?? null,
    read_ceiling_gb_s: cpu === null ? null : measureCeiling(threads),
    read_ceiling_threads: threads,
    cache_folder: cacheFolder(),
    models: (await listModels()).map((model) => model.name),
  };
  if (flags.json) await printJson(report);
  else await print(toText(report));
  if (error !== undefined) reportFailure(createError("BINARY_NOT_FOUND", error));
}

interface Report {
  node: string;
  platform: string;
  binary: { path: string | null; tried: { path: string; source: string; failure: string }[] };
  isa: string | null;
  isa_available: string[];
  threads: number | null;
  threads_reason: string | null;
  available_memory_bytes: number | null;
  read_ceiling_gb_s: number | null;
  read_ceiling_threads: number;
  cache_folder: string;
  models: string[];
}

function toText(report: Report): string {
  const memory = report.available_memory_bytes;
  const ceiling = report.read_ceiling_gb_s;
  const rows: [string, string][] = [
    ["node", `${report.node} ${report.platform}`],
    ["binary", report.binary.path ?? "not found"],
    ...report.binary.tried.map(({ path, source, failure }): [string, string] => [
      "  tried",
      `${path} (${source}): ${failure || "loaded"}`,
    ]),
    ["isa", report.isa === null ? "unknown" : `${report.isa} (available: ${report.isa_available.join(", ")})`],
    ["threads", report.threads === null ? "unknown" : `${report.threads} (${report.threads_reason})`],
    ["memory", memory ? `${(memory / 1e9).toFixed(1)} GB available` : "unknown"],
    [
      "read speed",
      ceiling === null ? "unknown" : `${ceiling.toFixed(1)} GB/s with ${report.read_ceiling_threads} threads`,
    ],
    ["cache", `${report.cache_folder} (${report.models.join(", ") || "empty"})`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(11)}${value}\n`).join("");
}
