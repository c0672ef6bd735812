/** bench/synthetic/make-model.mjs: valid files of every type, that load and give finite logits, and refused shapes. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { NativeSession } from "../support/native-session.js";

const script = fileURLToPath(new URL("../../bench/synthetic/make-model.mjs", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "lutra-synthetic-"));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

const small = "--layers 4 --dim 256 --heads 4 --kv-heads 2 --hidden 512 --vocab 1000".split(" ");

function make(name: string, ...flags: string[]): { path: string; status: number | null; stderr: string } {
  const path = join(directory, `${name}.gguf`);
  const { status, stderr } = spawnSync(process.execPath, [script, "--out", path, ...flags], { encoding: "utf8" });
  return { path, status, stderr };
}

const types = "f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq1_0 tq2_0 mxfp4".split(
  " ",
);
for (const type of types) {
  t.test(`a model of ${type}`, async (t) => {
    const { path, status, stderr } = make(type, ...small, "--shape", "7b", "--type", type);
    t.equal(status, 0, stderr);
    const { tensors, sizeBytes } = binding.inspectFile(path);
    t.equal(sizeBytes, statSync(path).size);
    t.ok(tensors.every((tensor) => tensor.type === (tensor.shape.length === 1 ? "F32" : type.toUpperCase())));
    const session = new NativeSession(path, { maxPositions: 32 });
    const deviations: number[] = [];
    session.feed([300, 301, 700], 3, (_, logits) => {
      const mean = logits.reduce((sum, x) => sum + x, 0) / logits.length;
      deviations.push(Math.sqrt(logits.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logits.length));
    });
    session.dispose();
    // The head's weights have gain 3 over a normalised row.
    t.ok(
      deviations.every((deviation) => deviation > 2 && deviation < 4),
      `deviations of the logits: ${deviations.map((x) => x.toFixed(2)).join(" ")}`,
    );
  });
}

t.test("a tied head of another type", async (t) => {
  const { path, status, stderr } = make("tied", ...small, "--type", "q4_0", "--head-type", "q6_k");
  t.equal(status, 0, stderr);
  const { tensors } = binding.inspectFile(path);
  t.equal(tensors.find(({ name }) => name === "token_embd.weight")?.type, "Q6_K");
  t.notOk(tensors.some(({ name }) => name === "output.weight"));
});

t.test("what no file can be made of", async (t) => {
  const cases = {
    "rows of 576 are not whole blocks": ["--type", "q4_k", "--dim", "576", "--heads", "9", "--kv-heads", "3"],
    "unknown type q9": ["--type", "q9"],
    "unknown shape 2b": ["--shape", "2b"],
    "does not divide into 7 heads": ["--heads", "7"],
    "--layers is a whole number from 1": ["--layers", "0"],
  };
  for (const [says, flags] of Object.entries(cases)) {
    const { path, status, stderr } = make("refused", ...flags);
    t.equal(status, 2, says);
    t.match(stderr, says);
    t.notOk(existsSync(path));
  }
});
