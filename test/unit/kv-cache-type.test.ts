// K/V as f16 and as q8_0: the bytes they take, their way from the option to the engine, and one answer whatever the
// chunking, the threads and the instruction set.
import { createHash } from "node:crypto";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import type { KvCacheType } from "../../dist/esm/binding/native.js";
import { loadModel } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";
import { NativeSession, type SessionOptions } from "../support/native-session.js";
import { runCli } from "../support/run-cli.js";

/** Every bit of every row's logits. */
function logitsOf(path: string, ids: readonly number[], chunk: number, options: SessionOptions): string {
  const session = new NativeSession(path, options);
  const hash = createHash("sha256");
  session.feed(ids, chunk, (_, logits) =>
    hash.update(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength)),
  );
  session.dispose();
  return hash.digest("hex");
}

for (const headDim of [16, 40]) {
  t.test(`one answer with q8_0, head_dim ${headDim}`, (t) => {
    const path = tinyModel({ headDim, seed: headDim });
    const ids = Array.from({ length: 300 }, (_, i) => (i * 7) % 64);
    const f16 = logitsOf(path, ids, 512, { isa: "scalar" });
    const reference = logitsOf(path, ids, 512, { isa: "scalar", kvType: "q8_0" });
    t.not(reference, f16, "it is another cache");
    for (const isa of binding.cpu().available) {
      for (const threads of [1, 2]) {
        for (const chunk of [1, 33, 512]) {
          const rows = logitsOf(path, ids, chunk, { isa, threads, kvType: "q8_0" });
          t.equal(rows, reference, `${isa}, ${threads} threads, chunks of ${chunk}`);
        }
      }
    }
    t.end();
  });
}

t.test("bytes: a position takes 34 bytes for every 32 dimensions instead of 64", async (t) => {
  const path = tinyModel();
  const bytes = async (kvCacheType: KvCacheType) => {
    await using model = await loadModel(path, { kvCacheType, maxSequences: 2, contextSize: 64 });
    t.equal(model.info.kvCacheType, kvCacheType);
    const { nLayers, nKvHeads, headDim } = model.info;
    return { kv: model.estimate().kvBytes, elements: 2 * nLayers * nKvHeads * 128 * headDim, headDim };
  };
  const half = await bytes("f16");
  const eight = await bytes("q8_0");
  t.equal(half.kv, 2 * half.elements);
  t.equal(eight.kv, eight.elements + (2 * Math.ceil(eight.headDim / 32) * eight.elements) / eight.headDim);
});

t.test("the binding refuses other types", (t) => {
  const model = binding.modelAcquire(tinyModel(), 1, new Int32Array(1));
  for (const kvType of ["q4_0", "", 8, null]) {
    const options = { threads: 1, maxRows: 1, maxWanted: 1, pages: 1, isa: "scalar" as const, kvType: kvType as "f16" };
    t.throws(() => binding.engineCreate(model, options), { name: "TypeError", message: /kvType/ });
  }
  binding.modelRelease(model);
  t.end();
});

t.test("--kv-type", async (t) => {
  const path = tinyModel();
  const answers = [];
  for (const type of ["f16", "q8_0"]) {
    const args = ["generate", "-m", path, "--kv-type", type, "--json", "-n", "4", "--temp", "0", "hello"];
    const { code, stdout, stderr } = await runCli(args);
    t.equal(code, 0, stderr);
    answers.push(JSON.parse(stdout).tokens.length);
  }
  t.ok(answers.every((n) => n > 0));
});
