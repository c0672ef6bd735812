// `lutra quantize` as a process: what it prints, every wrong call, interrupts, and a disk that fails at any call.
import { execFileSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import t from "tap";
import { buildModel, vocabularyOnly, withTensor, writeGguf } from "../support/gguf-builder.js";
import { withFloat } from "../support/gguf-weights.js";
import { runCli } from "../support/run-cli.js";

const wide = { dim: 256, nHeads: 4, nKvHeads: 2, headDim: 64, hiddenDim: 512, vocabSize: 320, nLayers: 2 } as const;
const folder = t.testdir({ sources: {}, out: {}, program: {} });
const out = join(folder, "out");
const sources = join(folder, "sources");
const float = writeGguf(join(sources, "f32.gguf"), buildModel({ ...wide, type: "F32" }));
const target = join(out, "model.gguf");

t.test("a table on stdout, warnings on stderr", async (t) => {
  const { code, stdout, stderr } = await runCli(["quantize", float, target, "--type", "q4_k", "-t", "1"]);
  t.equal(code, 0, stderr);
  t.equal(stderr, "");
  const lines = stdout.trimEnd().split("\n");
  t.match(lines[0], /^tensor +count +shape +from +to +MB before +MB after +error$/);
  t.match(stdout, /^token_embd\.weight +1 +256 × 320 +F32 +Q6_K +0\.33 +0\.07 +[\d.]+ %$/m);
  t.match(stdout, /^blk\.\*\.ffn_down\.weight +2 +512 × 256 +F32 +Q4_K +1\.05 +0\.15 +[4-8]\.\d\d %$/m);
  t.match(stdout, /^blk\.\*\.attn_norm\.weight +2 +256 +F32 +kept +0\.00 +0\.00$/m);
  t.match(lines.at(-1), /model\.gguf: [\d.]+ MB → [\d.]+ MB, [\d.]+ bits a weight, in [\d.]+ s$/);
  const run = await runCli(["generate", "-m", target, "hello", "-n", "3", "--json"]);
  t.equal(run.code, 0, run.stderr);
  const narrow = writeGguf(join(sources, "narrow.gguf"), buildModel({ type: "Q4_1" }));
  const second = await runCli(["quantize", narrow, target, "--type", "q4_k", "--force"]);
  t.equal(second.code, 0);
  t.match(second.stderr, /^lutra: \d+ tensors have rows that are not whole blocks of q4_k: written as q5_0$/m);
  t.match(second.stderr, /^lutra: \d+ tensors are quantised already \(Q4_1\)/m);
});

t.test("--json, and flags from the environment", async (t) => {
  const env = { LUTRA_TYPE: "q2_k", LUTRA_OUTPUT_TYPE: "q8_0", LUTRA_EMBEDDING_TYPE: "q5_1", LUTRA_FORCE: "1" };
  const { code, stdout, stderr } = await runCli(["quantize", float, target, "--json"], { env });
  t.equal(code, 0, stderr);
  const document = JSON.parse(stdout);
  t.match(document, {
    file: target,
    type: "q2_k",
    source_bytes: statSync(float).size,
    size_bytes: statSync(target).size,
    warnings: [],
    ms: Number,
  });
  const types = Object.fromEntries(document.tensors.map(({ name, to }: { name: string; to: string }) => [name, to]));
  t.match(types, { "token_embd.weight": "Q5_1", "output.weight": "Q8_0", "blk.1.ffn_up.weight": "Q2_K" });
  const fields = ["name", "shape", "from", "to", "source_bytes", "size_bytes", "error"];
  for (const tensor of document.tensors) t.same(Object.keys(tensor), fields);
});

t.test("wrong calls: one line, the right code, nothing written", async (t) => {
  const damaged = (name: string, spec: Parameters<typeof writeGguf>[1]) => writeGguf(join(sources, name), spec);
  const spec = buildModel({ ...wide, type: "F32" });
  const nan = withTensor(spec, "output.weight", (tensor) => ({
    ...tensor,
    data: withFloat(tensor.data, 5, Number.NaN),
  }));
  const before = readFileSync(target);
  const files = readdirSync(out);
  const locked = join(folder, "out", "locked");
  const cases: [string, string[], number, RegExp][] = [
    ["no type", [float, target], 2, /required option '--type <type>'.*\(USAGE\)/],
    ["no output", [float, "--type", "q4_0"], 2, /missing required argument 'out'.*\(USAGE\)/],
    ["one argument more", [float, target, "x", "--type", "q4_0"], 2, /too many arguments.*\(USAGE\)/],
    ["an unknown type", [float, target, "--type", "q4_k_m"], 2, /type: expected one of f32, .*\(INVALID_OPTION\)/],
    ["an unknown output type", [float, target, "--type", "q4_0", "--output-type", "x"], 2, /outputType: .*got "x"/],
    ["no threads", [float, target, "--type", "q4_0", "-t", "0"], 2, /\(USAGE\)/],
    ["the output exists", [float, target, "--type", "q4_0"], 1, /model\.gguf" exists; .*\(OUTPUT_EXISTS\)/],
    ["the output is the source", [float, float, "--type", "q4_0", "--force"], 2, /another file than the source/],
    ["no such folder", [float, join(out, "no", "x.gguf"), "--type", "q4_0"], 1, /\(OUTPUT_NOT_FOUND\)/],
    ["no such source", [`${float}.gguf`, target, "--type", "q4_0", "--force"], 1, /no such file.*\(MODEL_NOT_FOUND\)/],
    ["a folder", [sources, target, "--type", "q4_0", "--force"], 1, /\(E_IO\)/],
    ["no weights", [damaged("v.gguf", vocabularyOnly()), join(out, "x"), "--type", "q4_0"], 1, /\(MODEL_NO_WEIGHTS\)/],
    ["cut", [damaged("c.gguf", { ...spec, override: { cutTo: -9 } }), join(out, "x"), "--type", "q4_0"], 1, /\(GGUF_/],
    [
      "NaN",
      [damaged("n.gguf", nan), target, "--type", "q4_0", "--force"],
      1,
      /output\.weight, row 0.*\(MODEL_NONFINITE\)/,
    ],
  ];
  if (process.getuid?.() !== 0) {
    execFileSync("mkdir", [locked]);
    chmodSync(locked, 0o500);
    cases.push(["locked", [float, join(locked, "x.gguf"), "--type", "q4_0"], 1, /permission denied.*\(OUTPUT_IO\)/]);
  }
  for (const [name, args, wanted, message] of cases) {
    const { code, stdout, stderr } = await runCli(["quantize", ...args]);
    t.match({ code, stdout, stderr }, { code: wanted, stdout: "", stderr: message }, name);
    t.equal(stderr.trimEnd().split("\n").length, 1, `${name}: ${stderr}`);
  }
  t.same(
    readdirSync(out).filter((name) => name !== "locked"),
    files,
  );
  t.ok(readFileSync(target).equals(before), "the old file stays");
});

t.test("Ctrl-C leaves nothing", async (t) => {
  // Thirty million weights: more than a second.
  const spec = buildModel({ ...wide, type: "Q4_0", dim: 512, nHeads: 8, hiddenDim: 8192, vocabSize: 8192 });
  const source = writeGguf(join(sources, "large.gguf"), spec);
  const before = readFileSync(target);
  const files = readdirSync(out);
  const temporaries = () => readdirSync(out).filter((name) => name.startsWith(".lutra-"));
  let watch: NodeJS.Timeout | undefined;
  const { code, stdout } = await runCli(["quantize", source, target, "--type", "iq4_xs", "--force", "-t", "1"], {
    onStart: (child) => {
      watch = setInterval(() => {
        if (temporaries().length === 0) return;
        clearInterval(watch);
        child.kill("SIGINT");
      }, 5);
    },
  });
  clearInterval(watch);
  t.match({ code, stdout }, { code: 130, stdout: "" });
  t.same(readdirSync(out), files);
  t.ok(readFileSync(target).equals(before), "the old file stays");
});

function preload(): string | null {
  if (process.platform !== "linux") return null;
  const library = join(folder, "program", "failing-calls.so");
  try {
    const source = join(import.meta.dirname, "../support/failing-calls.c");
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], { stdio: "ignore" });
    return library;
  } catch {
    return null;
  }
}

const library = preload();

t.test("a disk that fails at any call", { skip: library === null && "needs Linux and a C compiler" }, async (t) => {
  const source = writeGguf(join(sources, "small.gguf"), buildModel({ type: "F32", nLayers: 1 }));
  const file = join(out, "failing.gguf");
  const quantize = (env: Record<string, string>) =>
    runCli(["quantize", source, file, "--type", "q8_0"], { env: { LD_PRELOAD: library ?? "", ...env } });
  const files = readdirSync(out);
  let calls = 0;
  for (;;) {
    const [name, says] =
      calls % 2 === 0 ? (["ENOSPC", "no space is left"] as const) : (["EIO", "the disk failed"] as const);
    const env = { LUTRA_FAIL_AT: `${++calls}`, LUTRA_FAIL_ERRNO: `${constants.errno[name]}` };
    const { code, stderr } = await quantize(env);
    if (code === 0) break;
    t.equal(code, 1);
    t.match(stderr, new RegExp(`failing\\.gguf" could not be written: ${says}.*\\(OUTPUT_IO\\)`), `call ${calls}`);
    // The folder's own sync comes after the rename.
    if (readdirSync(out).includes("failing.gguf")) break;
    t.same(readdirSync(out), files, "nothing is left");
  }
  t.ok(calls > 12, `${calls} calls: opened, header, tensors, synced, renamed`);
  const killed = await quantize({ LUTRA_FAIL_AT: "5", LUTRA_FAIL_ERRNO: "kill" });
  t.not(killed.code, 0);
  const last = await runCli(["quantize", source, file, "--type", "q8_0", "--force"]);
  t.equal(last.code, 0, last.stderr);
  t.same(readdirSync(out), [...files, "failing.gguf"].sort(), "what the killed one left is removed");
});
