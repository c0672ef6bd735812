// Exactness, engine-wide: for every weight type, a sequence's logits are the same bits alone or among 2 to 16 others, in
// any chunks, on any number of threads; and all paths of this CPU agree.
import { createHash, type Hash } from "node:crypto";
import t, { type Test } from "tap";
import { binding, type Isa } from "../../dist/esm/binding/index.js";
import { tensorTypes, type TensorTypeName } from "../support/gguf-builder.js";
import type { ModelOptions } from "../support/gguf-model.js";
import { tinyModel } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";

const types = [
  ...["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"],
  ...["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4"],
] as TensorTypeName[];
const length = 12;
const most = 16;
const maxPositions = 32;
const idsOf = (sequence: number): number[] => Array.from({ length }, (_, i) => (7 * i + 11 * sequence + 3) % 64);

const add = (hash: Hash, logits: Float32Array): Hash =>
  hash.update(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
const digest = (hash: Hash): string => hash.digest("hex");

/** Digests of all rows' logits of each sequence, fed alone. */
function alone(path: string, chunk: number, options: { threads: number; isa: Isa }, count: number): string[] {
  const session = new NativeSession(path, { ...options, maxPositions });
  const digests = Array.from({ length: count }, (_, sequence) => {
    const hash = createHash("sha256");
    session.reset();
    session.feed(idsOf(sequence), chunk, (_row, logits) => add(hash, logits));
    return digest(hash);
  });
  session.dispose();
  return digests;
}

/** The same, `count` sequences running together. */
function together(session: NativeSession, count: number): string[] {
  const hashes = Array.from({ length: count }, () => createHash("sha256"));
  session.reset();
  for (let i = 0; i < length; i++) {
    const tokens = hashes.map((_, sequence) => idsOf(sequence)[i] as number);
    session.feedTogether(tokens, (sequence, logits) => add(hashes[sequence] as Hash, logits));
  }
  return hashes.map(digest);
}

function checkModel(t: Test, options: ModelOptions): void {
  const path = tinyModel(options);
  const { isa } = binding.cpu();
  const reference = alone(path, length, { threads: 1, isa: "scalar" }, most);
  t.not(reference[0], reference[1], "sequences differ");
  for (const other of binding.cpu().available)
    t.same(alone(path, length, { threads: 1, isa: other }, 2), reference.slice(0, 2), `${other} agrees with scalar`);
  for (const threads of [1, 2, 3]) {
    for (const chunk of [1, 5])
      t.same(alone(path, chunk, { threads, isa }, 2), reference.slice(0, 2), `${threads} threads, chunks of ${chunk}`);
    const session = new NativeSession(path, { threads, isa, maxPositions, sequences: most });
    for (let count = 1; count <= most; count++)
      t.same(together(session, count), reference.slice(0, count), `${threads} threads, ${count} sequences`);
    session.dispose();
  }
}

/** Row counts that leave ragged panels and groups of panels, as far as the type's block lets them. */
function raggedSizes(type: TensorTypeName): ModelOptions {
  const heads = { nHeads: 4, nKvHeads: 1, headDim: 24, vocabSize: 333 };
  const block = tensorTypes[type][1];
  if (block === 256) return { nHeads: 4, nKvHeads: 1, headDim: 64, vocabSize: 333 };
  return block === 32 ? { ...heads, dim: 96, hiddenDim: 160 } : { ...heads, dim: 68, hiddenDim: 100 };
}

for (const type of types) {
  t.test(`one answer: ${type}`, (t) => {
    checkModel(t, { ...raggedSizes(type), type });
    t.end();
  });
}

t.test("one answer: gate, up and down of different types", (t) => {
  const byName: Record<string, TensorTypeName> = { ffn_gate: "Q4_K", ffn_up: "Q6_K", ffn_down: "F16", attn_q: "Q8_0" };
  const type = (name: string): TensorTypeName => byName[name.split(".")[2] ?? ""] ?? "Q5_0";
  checkModel(t, { type });
  checkModel(t, { type, architecture: "gemma3" });
  t.end();
});
