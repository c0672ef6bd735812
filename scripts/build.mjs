// The TypeScript build: lib/ is compiled twice, to dist/esm and dist/cjs, each with its own `type` marker.
//
// tsc takes a file's module kind from the nearest package.json, so the CommonJS pass compiles a copy of lib/ that lies
// under one saying "commonjs". There, a module `name-cjs.cts` takes the place of `name.ts` (import.meta has no CommonJS
// spelling), and cli/ and bench/ are left out: the command runs from the ESM build, and two of its packages are ESM only.
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const work = join(root, "build", `typescript-${process.pid}`);
const stage = join(work, "dist");
const copy = join(work, "cjs-sources");

/** tsc writes its output even when types are wrong; the build then fails at its end. */
function compile(...args) {
  const { status } = spawnSync(process.execPath, [tsc, ...args], { stdio: "inherit", cwd: root });
  if (status !== 0) process.exitCode = 1;
}

function mark(directory, type) {
  writeFileSync(join(directory, "package.json"), `${JSON.stringify({ type })}\n`);
}

/** Puts every `name-cjs.cts` of the copy in the place of its `name.ts`. */
function replaceTwins(directory) {
  for (const file of readdirSync(directory, { recursive: true })) {
    if (file.endsWith("-cjs.cts")) renameSync(join(directory, file), join(directory, file.replace("-cjs.cts", ".ts")));
  }
}

mkdirSync(join(stage, "esm"), { recursive: true });
compile("-p", "tsconfig.json", "--outDir", join(stage, "esm"));
mark(join(stage, "esm"), "module");

mkdirSync(copy, { recursive: true });
const commandOnly = ["cli", "bench"].map((room) => join(root, "lib", room));
cpSync(join(root, "lib"), copy, { recursive: true, filter: (path) => !commandOnly.includes(path) });
replaceTwins(copy);
mark(copy, "commonjs");
writeFileSync(
  join(copy, "tsconfig.json"),
  JSON.stringify({
    extends: join(root, "tsconfig.json"),
    compilerOptions: { rootDir: ".", outDir: join(stage, "cjs"), typeRoots: [join(root, "node_modules/@types")] },
    include: ["."],
    exclude: [],
  }),
);
mkdirSync(join(stage, "cjs"), { recursive: true });
compile("-p", join(copy, "tsconfig.json"));
mark(join(stage, "cjs"), "commonjs");

// The finished tree replaces the old one in one move, so a program that starts meanwhile sees no mixture.
rmSync(join(root, "dist"), { recursive: true, force: true });
renameSync(stage, join(root, "dist"));
rmSync(work, { recursive: true, force: true });
const main = join(root, "dist", "esm", "cli", "main.js");
if (existsSync(main)) chmodSync(main, 0o755);
