/**
 * Runs the kernel benches and writes their rows to bench/results/<date>-kernels.json, with machine and commit. Flags
 * given to a bench after its name go to it: each bench's source lists its own.
 *
 *   npm run bench:kernels                                        # all, every default: minutes
 *   npm run bench:kernels -- matmul --types Q4_1 --columns 1,4   # one, narrowed
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeRun, writeResults } from "../compare/machine.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const names = ["matmul", "columns", "lut", "attention", "lookup", "refine", "channels"];
const [name, ...flags] = process.argv.slice(2);
if (name !== undefined && !names.includes(name)) {
  console.error(`expected ${names.join(", ")}, got ${name}`);
  process.exit(2);
}

const run = describeRun(root);
const folder = mkdtempSync(join(tmpdir(), "lutra-kernels-"));
const benches = {};
try {
  for (const bench of name === undefined ? names : [name]) {
    const program = join(root, "build", "native-tests", `bench_${bench}`);
    if (!existsSync(program)) throw new Error(`${program} is not there: npm run build:tests`);
    const json = join(folder, `${bench}.json`);
    const { status } = spawnSync(program, [...flags, "--json", json], { stdio: "inherit" });
    if (status !== 0) throw new Error(`bench_${bench} ended with ${status}`);
    benches[bench] = JSON.parse(readFileSync(json, "utf8"));
  }
} finally {
  rmSync(folder, { recursive: true });
}
writeResults(root, "kernels", { ...run, flags: { benches: Object.keys(benches), given: flags }, benches });
