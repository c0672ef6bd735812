// The second native build, through node-gyp, in build/gyp (node-gyp insists on a folder named `build` beside binding.gyp,
// which is cmake-js's here). Headers come from the running Node's own prefix, or LUTRA_NODEDIR: nothing is downloaded.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(root, "build", "gyp");
const prefixes = [process.env.LUTRA_NODEDIR, dirname(dirname(process.execPath)), dirname(process.execPath)];
const nodedir = prefixes.find((path) => path && existsSync(join(path, "include", "node", "common.gypi")));
if (!nodedir) {
  console.error(
    `no Node headers under ${prefixes.filter(Boolean).join(", ")}: set LUTRA_NODEDIR to a folder that holds include/node`,
  );
  process.exit(1);
}

mkdirSync(work, { recursive: true });
for (const item of ["native", "scripts", "binding.gyp", "package.json"]) {
  rmSync(join(work, item), { recursive: true, force: true });
  cpSync(join(root, item), join(work, item), { recursive: true, preserveTimestamps: true });
}
const gyp = createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
for (const step of [
  ["configure", `--nodedir=${nodedir}`],
  ["build", "--jobs=2", `--nodedir=${nodedir}`],
]) {
  const { status } = spawnSync(process.execPath, [gyp, ...step, "--release"], { stdio: "inherit", cwd: work });
  if (status !== 0) process.exit(status ?? 1);
}
