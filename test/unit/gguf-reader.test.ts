/** The GGUF reader refuses every malformed file of the catalogue with the right code, fast, and accepts its neighbours. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { getBinding } from "../../dist/esm/binding/index.js";
import {
  buildModel,
  splitSpec,
  withAlignment,
  writeGguf,
  writeParts,
  value,
  withMetadata,
  tensorTypes,
  type TensorTypeName,
} from "../support/gguf-builder.js";
import { fileCases } from "../support/gguf-cases.js";

const binding = getBinding();
const inNewDirectory = <T>(use: (directory: string) => T): T => {
  const directory = mkdtempSync(join(tmpdir(), "lutra-gguf-"));
  try {
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};

for (const { name, code, says, make } of fileCases) {
  t.test(name, async (t) => {
    inNewDirectory((directory) => {
      const path = make(directory);
      if (path === undefined)
        return t.pass("this machine cannot make the file (root reads everything)", { skip: true });
      if (code === "OK") return t.doesNotThrow(() => binding.inspectFile(path));
      try {
        binding.inspectFile(path);
        return t.fail(`expected ${code}, but the file was accepted`);
      } catch (error) {
        const { code: found, message } = error as { code: string; message: string };
        t.equal(found, code, message);
        if (says) t.match(message, says);
        return t.ok(message.length < 6000, "message is bounded");
      }
    });
  });
}

t.test("untrusted text in messages is escaped and cut", async (t) => {
  inNewDirectory((directory) => {
    const spec = withMetadata(buildModel(), { [`\u001b[31m${"x".repeat(1000)}`]: value.raw(99, new Uint8Array(8)) });
    const path = writeGguf(join(directory, "case.gguf"), spec);
    try {
      binding.inspectFile(path);
      t.fail("accepted");
    } catch (error) {
      const { message } = error as Error;
      t.notMatch(message, "\u001b");
      t.notMatch(message, "x".repeat(65));
      t.match(message, "\\x1b");
    }
  });
});

t.test("what a valid file holds", async (t) => {
  inNewDirectory((directory) => {
    const spec = withAlignment(
      buildModel({
        type: "Q4_K",
        metadata: [
          ["test.big", value.u64(1n << 40n)],
          ["test.off", value.bool(false)],
        ],
      }),
      64,
    );
    const path = writeGguf(join(directory, "case.gguf"), spec);
    const file = binding.inspectFile(path);
    t.equal(file.version, 3);
    t.equal(file.alignment, 64);
    t.same(file.paths, [path]);
    t.equal(file.metadata["general.architecture"], "llama");
    t.equal(file.metadata["llama.block_count"], 2);
    t.equal(file.metadata["test.big"], 2 ** 40);
    t.equal(file.metadata["test.off"], false);
    t.same(file.metadata["tokenizer.ggml.tokens"], { type: "string", length: 320 });
    t.equal(file.tensors.length, spec.tensors.length);
    const tensor = file.tensors.find((found) => found.name === "blk.1.ffn_down.weight");
    t.same(tensor?.shape.slice(0, 2), [512, 256]);
    t.equal(tensor?.type, "Q4_K");
    t.equal(tensor?.sizeBytes, 2 * 256 * 144);
    for (const { offsetBytes } of file.tensors) t.equal(offsetBytes % 64, 0);
  });
});

t.test("every tensor type keeps its size", async (t) => {
  for (const type of Object.keys(tensorTypes) as TensorTypeName[]) {
    inNewDirectory((directory) => {
      const spec = buildModel({ type: (name) => (name.includes("ffn") ? type : "F32"), nLayers: 1 });
      const file = binding.inspectFile(writeGguf(join(directory, "case.gguf"), spec));
      const tensor = file.tensors.find((found) => found.name === "blk.0.ffn_up.weight");
      t.equal(tensor?.type, type);
      t.equal(tensor?.sizeBytes, ((256 * 512) / tensorTypes[type][1]) * tensorTypes[type][2], type);
    });
  }
});

t.test("a split model holds what the whole one does", async (t) => {
  inNewDirectory((directory) => {
    const spec = buildModel();
    const whole = binding.inspectFile(writeGguf(join(directory, "whole.gguf"), spec));
    const parts = binding.inspectFile(writeParts(directory, "parts", splitSpec(spec, 4)));
    t.equal(parts.paths.length, 4);
    t.same(
      parts.tensors.map(({ name, sizeBytes }) => [name, sizeBytes]),
      whole.tensors.map(({ name, sizeBytes }) => [name, sizeBytes]),
    );
  });
});

t.test("a vocabulary of 262,144 tokens opens within 150 ms", async (t) => {
  inNewDirectory((directory) => {
    const spec = withMetadata(buildModel(), {
      "tokenizer.ggml.tokens": value.array(
        "string",
        Array.from({ length: 262144 }, (_, i) => `token${i}`),
      ),
      "tokenizer.ggml.scores": value.array("f32", new Array<number>(262144).fill(0)),
    });
    const path = writeGguf(join(directory, "case.gguf"), spec);
    const times = [1, 2, 3].map(() => {
      const start = performance.now();
      binding.inspectFile(path);
      return performance.now() - start;
    });
    t.ok(Math.min(...times) < 150, `${Math.min(...times).toFixed(1)} ms`);
  });
});
