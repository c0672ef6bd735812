/** What the numbers were measured on and with. */
import { execFileSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";

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
