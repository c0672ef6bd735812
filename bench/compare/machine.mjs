/** What the numbers were measured on and with, and where they are written. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { dirname, join } from "node:path";

function git(cwd, ...args) {
  try {
    return execFileSync("git", args, { cwd, encoding: "utf8" }).trim();
  } catch {
    return null;
  }
}

export function describeMachine() {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch} ${release()}`,
    loadAverage: loadavg()[0],
  };
}

/** `dirty`: tracked or new files differ from the commit, results aside. */
export function describeCommit(root) {
  const changes = git(root, "status", "--porcelain", "--", ".", ":(exclude)bench/results");
  return { commit: git(root, "rev-parse", "HEAD"), dirty: changes === null ? null : changes !== "" };
}

/** The head of a result file. Called before the measurements, whose own load says nothing; warns of a busy machine. */
export function describeRun(root) {
  const machine = describeMachine();
  if (machine.loadAverage > 0.5) {
    console.error(`warning: load average ${machine.loadAverage.toFixed(1)}: this machine is busy, ratios mean nothing`);
  }
  return { date: new Date().toISOString(), machine, ...describeCommit(root), node: process.version };
}

/** Writes a result file: `out`, or bench/results/<date>-<name>.json. */
export function writeResults(root, name, document, out) {
  const path = out ?? join(root, "bench", "results", `${document.date.slice(0, 10)}-${name}.json`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`);
  console.error(`written: ${path}`);
}
