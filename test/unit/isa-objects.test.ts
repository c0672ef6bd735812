// Baseline objects hold no AVX code, AVX2 objects no AVX-512 code, and no path shares an inline function with another;
// on ARM likewise with dot products. All is read from what CMake left in build/. An older CPU would die of the first, and
// the linker may pick the AVX2 copy of the second.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const build = resolve(dirname(fileURLToPath(import.meta.url)), "../../build");
const core = join(build, "liblutra_core.a");
const avx2 = join(build, "liblutra_avx2.a");
const avx512 = join(build, "liblutra_avx512.a");

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

/** A test of one instruction, given its text and its mnemonic. */
type Needs = (instruction: string, mnemonic: string) => boolean;

const needsAvx: Needs = (instruction, mnemonic) => {
  const vex = mnemonic.startsWith("v") && !virtualisation.test(mnemonic);
  return vex || bmi.test(mnemonic) || /%[yz]mm\d/.test(instruction);
};

/** Mask registers, 512 bits, registers 16 to 31, embedded broadcasts. */
const needsAvx512: Needs = (instruction) => /%zmm\d|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])|\{1to\d+\}/.test(instruction);

/** Instructions of a file that an older x86-64 CPU does not have, as "symbol: instruction". */
function findInstructions(file: string, needs: Needs): string[] {
  const found: string[] = [];
  let symbol = "";
  for (const line of run("objdump", "-d", "--no-show-raw-insn", file).split("\n")) {
    const label = /^[0-9a-f]+ <(.+)>:$/.exec(line);
    if (label) symbol = label[1]!;
    const instruction = /^\s*[0-9a-f]+:\s+(.+)$/.exec(line)?.[1];
    if (!instruction) continue;
    const mnemonic = instruction.split(/\s+/)[0]!;
    if (needs(instruction, mnemonic)) found.push(`${symbol}: ${instruction}`);
  }
  return found;
}

const findAvx = (file: string) => findInstructions(file, needsAvx);

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

t.test("AVX2 objects have no AVX-512 code", { skip: missing() }, (t) => {
  t.same(findInstructions(avx2, needsAvx512).slice(0, 5), []);
  t.ok(
    findInstructions(avx512, needsAvx512).length > 100,
    "the AVX-512 library does hold some, so the search finds it",
  );
  t.end();
});

t.test("the objects of a path share no inline symbol with the others", { skip: missing() }, (t) => {
  const baseline = new Set([core, ...addonObjects()].flatMap(weakSymbols));
  t.same(
    [avx2, avx512].flatMap(weakSymbols).filter((symbol) => baseline.has(symbol)),
    [],
  );
  const narrower = new Set(weakSymbols(avx2));
  t.same(
    weakSymbols(avx512).filter((symbol) => narrower.has(symbol)),
    [],
  );
  t.ok(findAvx(avx2).length > 100, "the AVX2 library does hold AVX code, so the search can find some");
  t.end();
});

t.test("kernels that fetch ahead still do when they are compiled", { skip: missing() }, (t) => {
  for (const library of [avx2, avx512]) {
    const code = run("objdump", "-d", "--no-show-raw-insn", library);
    for (const object of ["lookup_rows.cc.o", "lookup_scan.cc.o", "attention.cc.o", "columns.cc.o"]) {
      const begin = code.indexOf(`\n${object}:`);
      t.ok(begin >= 0, `${object} is in the library`);
      const end = code.indexOf(".cc.o:", begin + object.length + 2);
      // GCC deletes calls of functions that do nothing else.
      t.match(code.slice(begin, end < 0 ? undefined : end), /\tprefetch/, object);
    }
  }
  t.end();
});

const arm = join(build, "native-neon");

function missingArm(): string | false {
  if (spawnSync("aarch64-linux-gnu-objdump", ["--version"]).status !== 0) return "no binutils for ARM";
  return existsSync(join(arm, "liblutra_neon.a")) ? false : "build/native-neon is not built: run `npm run test:neon`";
}

t.test(
  "baseline ARM objects have no dot products and share no inline symbol with NEON's",
  { skip: missingArm() },
  (t) => {
    const files = ["liblutra_core.a", "liblutra_neon.a"].map((name) => join(arm, name));
    const [dotsOfCore, dots] = files.map(
      (file) => run("aarch64-linux-gnu-objdump", "-d", file).match(/\t[su]dot\t/g) ?? [],
    );
    t.equal(dotsOfCore!.length, 0);
    t.ok(dots!.length > 100, "the NEON library does hold some, so the search finds it");
    const [baseline, neon] = files.map(weakSymbols);
    t.ok(baseline!.length > 0, "this nm reads ARM objects");
    t.same(
      neon!.filter((symbol) => baseline!.includes(symbol)),
      [],
    );
    t.end();
  },
);

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
