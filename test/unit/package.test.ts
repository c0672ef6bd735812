// The package as a user gets it: packed, unpacked into an empty project, imported and required, types included.
import { execFileSync, type ExecFileSyncOptions } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { buildModel, writeGguf } from "../support/gguf-builder.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
  dependencies: Record<string, string>;
};
const built = existsSync(join(root, "build", "Release", "lutra.node"));
const skip = built ? false : "build/Release/lutra.node is not built: run `npm run build:native`";
const project = mkdtempSync(join(tmpdir(), "lutra-package-"));
const installed = join(project, "node_modules", "lutra");
t.teardown(() => rmSync(project, { recursive: true, force: true }));

function run(program: string, args: string[], options: ExecFileSyncOptions = {}): string {
  const env = { ...process.env };
  delete env["LUTRA_BINARY"];
  return String(execFileSync(program, args, { cwd: project, env, encoding: "utf8", timeout: 120_000, ...options }));
}

/** What `npm install` of the tarball would give; dependencies are linked from here, so no registry is asked. */
function install(): void {
  run("npm", ["pack", "--loglevel=error", "--pack-destination", project], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  mkdirSync(installed, { recursive: true });
  run("tar", ["-xzf", `lutra-${manifest.version}.tgz`, "--strip-components=1", "-C", installed]);
  for (const name of [...Object.keys(manifest.dependencies), "@types/node", "undici-types"]) {
    const link = join(project, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    if (existsSync(join(root, "node_modules", name))) symlinkSync(join(root, "node_modules", name), link, "dir");
  }
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "consumer", private: true }));
}

const body = `
const model = await loadModel(process.argv[2], { threads: 1, contextSize: 64 });
const { tokens } = await model.generate("packed", { maxTokens: 4, temperature: 0, ignoreEos: true });
await model.dispose();
console.log(JSON.stringify({ tokens, names: Object.keys(lutra).sort() }));
`;

t.test("the tarball", { skip }, (t) => {
  install();
  const model = writeGguf(join(project, "tiny.gguf"), buildModel({ seed: 7 }));
  writeFileSync(
    join(project, "run.mjs"),
    `import * as lutra from "lutra";\nimport { loadModel } from "lutra";\n${body}`,
  );
  writeFileSync(
    join(project, "run.cjs"),
    `const lutra = require("lutra");\nconst { loadModel } = lutra;\n(async () => {${body}})();\n`,
  );

  t.test("holds what it needs and nothing else", (t) => {
    const items = readdirSync(installed).sort();
    for (const item of ["LICENSE", "README.md", "dist", "native", "prebuilds", "CMakeLists.txt", "binding.gyp"])
      t.ok(items.includes(item), item);
    for (const item of ["test", "bench", "lib", "node_modules", "build", ".ci"])
      t.notOk(items.includes(item), `no ${item}`);
    const scripts = (JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as { scripts: object }).scripts;
    for (const hook of ["preinstall", "install", "postinstall"]) t.notOk(hook in scripts, `no ${hook} script`);
    t.end();
  });

  t.test("import and require both work and agree", (t) => {
    const [esm, cjs] = ["run.mjs", "run.cjs"].map(
      (file) => JSON.parse(run(process.execPath, [file, model])) as { tokens: number[]; names: string[] },
    );
    t.equal(esm!.tokens.length, 4);
    t.same(cjs!.tokens, esm!.tokens);
    t.ok(esm!.names.includes("loadModel"));
    const markers = ["default", "__esModule", "module.exports"];
    t.same(
      cjs!.names.filter((name) => !markers.includes(name)),
      esm!.names.filter((name) => !markers.includes(name)),
    );
    t.end();
  });

  t.test("the command runs", (t) => {
    t.match(run(process.execPath, [join(installed, "dist/esm/cli/main.js"), "--version"]), manifest.version);
    t.end();
  });

  t.test("types resolve for both module kinds, and are checked", (t) => {
    const use = `export async function ask(): Promise<string> {
  const model = await loadModel("x", { threads: 2 });
  const result = model.generate("y", { maxTokens: 4 });
  for await (const part of result) process.stdout.write(part.text);
  const { text, tokens, finishReason } = await result;
  const ids: number[] = tokens;
  const reason: "stop" | "length" | "abort" = finishReason;
  return text + ids.length + reason;
}\n`;
    writeFileSync(join(project, "use.mts"), `import { loadModel } from "lutra";\n${use}`);
    writeFileSync(join(project, "use.cts"), `import { loadModel } from "lutra";\n${use}`);
    writeFileSync(join(project, "wrong.mts"), `import { loadModel } from "lutra";\nvoid loadModel(5);\n`);
    const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
    const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"];
    const check = (...files: string[]) => run(process.execPath, [tsc, ...flags, "--skipLibCheck", ...files]);
    t.equal(check("use.mts", "use.cts"), "");
    t.throws(() => check("wrong.mts"), "a number is no model");
    t.end();
  });

  t.end();
});
