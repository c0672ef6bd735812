/** Runs the built `lutra` command as a real process. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { resolveModel } from "../../dist/esm/models/index.js";

export const cliMain = join(import.meta.dirname, "../../dist/esm/cli/main.js");

export interface CliRun {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  env?: Record<string, string>;
  input?: string;
  /** Called with the process once it runs. */
  onStart?: (child: ChildProcess) => void;
  onStdout?: (child: ChildProcess, text: string) => void;
}

/** Path of a built-in model that is in the cache already, or null. */
export async function cachedModel(name: string): Promise<string | null> {
  return resolveModel(name, { offline: true }).catch(() => null);
}

/** Nothing of LUTRA_… leaks in from the environment the tests run in, but the cache. */
export function runCli(args: string[], options: CliOptions = {}): Promise<CliRun> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("LUTRA_") || ["LUTRA_CACHE", "LUTRA_BINARY"].includes(name),
  );
  const child = spawn(process.execPath, [cliMain, ...args], { env: { ...Object.fromEntries(kept), ...options.env } });
  const run: CliRun = { code: null, stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    run.stdout += text;
    options.onStdout?.(child, text);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    run.stderr += text;
  });
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  options.onStart?.(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ ...run, code }));
  });
}
