// Formats the C++ sources, or with --check fails when one is not formatted. Uses clang-format from the path or from the
// virtual environment .ci/run makes in build/; when there is none, says so and passes.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const own = join(root, "build", "venv", "bin", "clang-format");
const program = existsSync(own) ? own : "clang-format";
if (spawnSync(program, ["--version"]).status !== 0) {
  console.log("clang-format: not found, C++ format not checked");
  process.exit(0);
}
const files = ["native", "test/native", "test/fuzz", "bench/kernels"]
  .filter((folder) => existsSync(join(root, folder)))
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true }).map((file) => join(folder, String(file))))
  // Generated tables stay as their generator wrote them.
  .filter((file) => /\.(cc|h)$/.test(file) && !/_(data|tables?)\.(cc|h|inc)$/.test(file));
const mode = process.argv.includes("--check") ? ["--dry-run", "--Werror"] : ["-i"];
process.exit(spawnSync(program, [...mode, ...files], { stdio: "inherit", cwd: root }).status ?? 1);
