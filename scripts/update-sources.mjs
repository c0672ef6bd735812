// Rewrites native/sources.txt, the one source list of both native builds, from the files that lie in native/.
// With --check, writes nothing and fails when the list is not what it would write.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const native = join(dirname(dirname(fileURLToPath(import.meta.url))), "native");

/** ISA folders are libraries of their own, with their own flags. */
function groupOf(file) {
  if (file.startsWith("addon/")) return "addon";
  if (file.startsWith("kernels/avx2/")) return "avx2";
  if (file.startsWith("kernels/avx512/")) return "avx512";
  if (file.startsWith("kernels/neon/")) return "neon";
  return "core";
}

const files = readdirSync(native, { recursive: true })
  .map((file) => file.split(sep).join("/"))
  .filter((file) => file.endsWith(".cc"))
  .sort();
const lines = ["core", "avx2", "avx512", "neon", "addon"].flatMap((group) =>
  files.filter((file) => groupOf(file) === group).map((file) => `${group} ${file}`),
);
const text = `# group file, one a line; written by scripts/update-sources.mjs\n${lines.join("\n")}\n`;
const list = join(native, "sources.txt");

const current = existsSync(list) && readFileSync(list, "utf8") === text;

if (process.argv.includes("--check")) {
  if (!current) {
    console.error("native/sources.txt is not up to date: run `npm run sources`");
    process.exit(1);
  }
} else if (!current) {
  // Left alone when nothing changed: its time stamp makes CMake configure again.
  writeFileSync(list, text);
}
