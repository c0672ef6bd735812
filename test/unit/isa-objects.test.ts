// Baseline objects hold no AVX code, and AVX2 objects share no inline function with them. Both are read from what the
// CMake build left in build/. An older CPU would die of the first, and the linker may pick the AVX2 copy of the second.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const build = resolve(dirname(fileURLToPath(import.meta.url)), "../../build");
const core = join(build, "liblutra_core.a");
const avx2 = join(build, "liblutra_avx2.a");

function missing(): string | false {
  if (process.arch !== "x64") return `no AVX on ${process.arch}`;
  for (const tool of ["objdump", "nm"])
    if (spawnSync(tool, ["--version"]).status !== 0) return `${tool} is not installed`;
  if (!existsSync(core)) return "build/liblutra_core.a is not built: run `npm run build:native`";
  return false;
}

function run(tool: string, ...args: string[]): string {
  return execFileSync(tool, args, { encoding: "utf8", maxBuffer: 1 << 30 });
}

// VEX-coded general purpose instructions (BMI) have names without a leading v.
const bmi = /^(andn|bextr|blsi|blsr|blsmsk|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)$/;
const virtualisation = /^(verr|verw|vm[a-z]+)$/;

/** Instructions of a file that a baseline x86-64 CPU does not have, as "symbol: instruction". */
function findAvx(file: string): string[] {
  const found: string[] = [];
  let symbol = "";
  for (const line of run("objdump", "-d", "--no-show-raw-insn", file).split("\n")) {
    const label = /^[0-9a-f]+ <(.+)>:$/.exec(line);
    if (label) symbol = label[1]!;
    const instruction = /^\s*[0-9a-f]+:\s+(.+)$/.exec(line)?.[1];
    if (!instruction) continue;
    const mnemonic = instruction.split(/\s+/)[0]!;
    const vex = mnemonic.startsWith("v") && !virtualisation.test(mnemonic);
    if (vex || bmi.test(mnemonic) || /%[yz]mm\d/.test(instruction)) found.push(`${symbol}: ${instruction}`);
  }
  return found;
}

/** Symbols a linker may take from any object that has them: inline functions, templates, vague linkage. */
function weakSymbols(file: string): string[] {
  const lines = run("nm", "--defined-only", file).split("\n");
  return lines.flatMap((line) => /^[0-9a-f]+ [WVu] (\S+)$/.exec(line)?.[1] ?? []);
}

function addonObjects(): string[] {
  const folder = join(build, "CMakeFiles", "lutra.dir");
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((file) => join(folder, String(file)))
    .filter((file) => file.endsWith(".o"));
}

t.test("baseline objects have no AVX code", { skip: missing() }, (t) => {
  for (const file of [core, ...addonObjects()]) t.same(findAvx(file).slice(0, 5), [], file.slice(build.length + 1));
  t.end();
});

t.test("AVX2 objects share no inline symbol with baseline ones", { skip: missing() }, (t) => {
  const baseline = new Set([core, ...addonObjects()].flatMap(weakSymbols));
  const shared = weakSymbols(avx2).filter((symbol) => baseline.has(symbol));
  t.same(shared, []);
  t.ok(findAvx(avx2).length > 100, "the AVX2 library does hold AVX code, so the search can find some");
  t.end();
});

t.test("the check can fail", { skip: missing() }, (t) => {
  const compiler = ["c++", "g++", "clang++"].find((name) => spawnSync(name, ["--version"]).status === 0);
  if (!compiler) {
    t.comment("skipped: no C++ compiler");
    t.end();
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "lutra-isa-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const source = join(folder, "probe.cc");
  writeFileSync(
    source,
    "template <class T> inline __attribute__((noinline)) T twice(T x) { return x + x; }\n" +
      "void add(float* x, const float* y) { for (int i = 0; i < 64; ++i) x[i] = twice(x[i]) + y[i]; }\n",
  );
  const objects = ["", "-mavx2"].map((flag, i) => {
    const object = join(folder, `probe${i}.o`);
    run(compiler, "-std=c++20", "-O2", ...(flag ? [flag] : []), "-c", source, "-o", object);
    return object;
  });
  t.same(findAvx(objects[0]!), [], "plain flags give no AVX code");
  t.ok(findAvx(objects[1]!).length > 0, "-mavx2 is noticed");
  const weak = new Set(weakSymbols(objects[0]!));
  t.equal(weakSymbols(objects[1]!).filter((symbol) => weak.has(symbol)).length, 1, "a shared template is noticed");
  t.end();
});
