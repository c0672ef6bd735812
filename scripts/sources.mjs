// Prints the files of one group of native/sources.txt, space separated and relative to the repository root (for
// binding.gyp). CMakeLists.txt reads the same file itself.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const group = process.argv[2];
const lines = readFileSync(join(root, "native", "sources.txt"), "utf8").split("\n");
const files = lines
  .filter((line) => line.startsWith(`${group} `))
  .map((line) => `native/${line.slice(group.length + 1)}`);
process.stdout.write(`${files.join("\n")}\n`);
