// What can go wrong with a file while, or before, its weights are read: classes G18, G20 and G21.
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { buildModel, encodeGguf, tensorBytes, value, withMetadata, writeGguf } from "../support/gguf-builder.js";
import { tinyModel } from "../support/models.js";

/** A model of a few megabytes, so that reading it takes several chunks. */
const severalChunks = { nLayers: 4, dim: 256, nHeads: 4, nKvHeads: 4, headDim: 64, hiddenDim: 1024, vocabSize: 512 };

const accidents: Record<string, { act: (path: string) => void; codes: (string | null)[] }> = {
  "cut in the middle": { act: (path) => truncateSync(path, 4096), codes: ["GGUF_TRUNCATED", "MODEL_CHANGED"] },
  "rewritten in place": {
    act: (path) => {
      writeFileSync(path, readFileSync(path).reverse());
      utimesSync(path, new Date(1e12), new Date(1e12));
    },
    codes: ["MODEL_CHANGED", "MODEL_NONFINITE"],
  },
  grown: { act: (path) => appendFileSync(path, "more"), codes: ["MODEL_CHANGED"] },
  // The descriptor stays valid and the bytes are the same: nothing is lost.
  deleted: { act: (path) => rmSync(path), codes: [null, "MODEL_CHANGED"] },
};

for (const [name, { act, codes }] of Object.entries(accidents)) {
  t.test(`G18: a file ${name} while it is loading`, (t) => {
    const before = binding.counters();
    const path = join(t.testdir({}), "model.gguf");
    copyFileSync(tinyModel(severalChunks), path);
    let calls = 0;
    let code: string | null = null;
    try {
      const model = binding.modelAcquire(path, 1, new Int32Array(1), () => {
        if (calls++ === 0) act(path);
      });
      binding.modelRelease(model);
    } catch (thrown) {
      code = (thrown as { code: string }).code;
    }
    t.ok(calls > 0, "the accident happened");
    t.ok(codes.includes(code), `${code} is one of ${codes.join(", ")}`);
    t.same(binding.counters(), before);
    t.end();
  });
}

t.test("G20: a model of 100 GB is refused before its weights are touched", (t) => {
  // A small model's header whose feed-forward matrices claim 2^20 rows; their data is a hole of the file system.
  const hiddenDim = 2 ** 20;
  const small = buildModel({
    nLayers: 32,
    dim: 256,
    nHeads: 4,
    nKvHeads: 4,
    headDim: 64,
    hiddenDim: 256,
    vocabSize: 512,
    type: "F32",
  });
  const spec = withMetadata(small, { "llama.feed_forward_length": value.u32(hiddenDim) });
  let offset = 0;
  const tensors = spec.tensors.map((tensor) => {
    const shape = tensor.name.endsWith("ffn_down.weight")
      ? [hiddenDim, 256]
      : /ffn_(gate|up).weight$/.test(tensor.name)
        ? [256, hiddenDim]
        : tensor.shape;
    const place = BigInt(offset);
    offset += Math.ceil(tensorBytes(tensor.type, shape) / 32) * 32;
    return { ...tensor, data: new Uint8Array(0), override: { dims: shape.map(BigInt), offset: place } };
  });
  const header = encodeGguf({ ...spec, tensors });
  const path = join(t.testdir({}), "huge.gguf");
  writeFileSync(path, header);
  const file = openSync(path, "r+");
  ftruncateSync(file, Math.ceil(header.length / 32) * 32 + offset);
  closeSync(file);
  t.ok(statSync(path).size > 100e9);
  const begin = performance.now();
  t.throws(() => binding.modelAcquire(path, 1, new Int32Array(1)), { code: "E_OUT_OF_MEMORY", message: /available/ });
  t.ok(performance.now() - begin < 2000, "at once");
  t.end();
});

t.test("G20: a cache that cannot fit is refused with what to change", async (t) => {
  const path = writeGguf(join(t.testdir({}), "wide.gguf"), buildModel({ ...severalChunks, contextLength: 1 << 20 }));
  await t.rejects(loadModel(path, { contextSize: 1 << 20, maxSequences: 64 }), {
    name: "InsufficientMemoryError",
    code: "E_OUT_OF_MEMORY",
    message: /contextSize/,
  });
  t.same(binding.counters().models, 0);
});

t.test("G21: concurrent loads of one file share one copy", async (t) => {
  const path = tinyModel({ ...severalChunks, seed: 21 });
  const alone = await loadModel(path, { maxSequences: 1 });
  const { weightsBytes, kvBytes, scratchBytes } = alone.estimate();
  await alone.dispose();
  const models = await Promise.all([1, 2, 3].map(() => loadModel(path, { maxSequences: 1 })));
  t.equal(binding.counters().bytes, weightsBytes + 3 * (kvBytes + scratchBytes));
  await Promise.all(models.map((model) => model.dispose()));
  t.equal(binding.counters().bytes, 0);
});
