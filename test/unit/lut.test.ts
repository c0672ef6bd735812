// Products by table lookup, engine-wide: exact tables give the bits of multiply-adds, 8-bit tables one answer of their own,
// whatever the batch, the chunks, the threads and the path; the option says what it does.
import { createHash } from "node:crypto";
import t from "tap";
import { binding, type Isa } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { tensorTypes, type TensorTypeName } from "../support/gguf-builder.js";
import type { ModelOptions } from "../support/gguf-model.js";
import { tinyModel } from "../support/models.js";
import { NativeSession, type SessionOptions } from "../support/native-session.js";

const planar = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "TQ1_0", "TQ2_0"] as TensorTypeName[];
const codebooks = ["IQ4_NL", "IQ4_XS", "MXFP4"] as TensorTypeName[];
const types = [...planar, ...codebooks];
const length = 12;
const most = 6;
const idsOf = (sequence: number): number[] => Array.from({ length }, (_, i) => (7 * i + 11 * sequence + 3) % 64);
const { isa: best, available } = binding.cpu();
const tiled = { tiles: ["all"], maxPositions: 32 };

/** Digests of all rows' logits of some sequences, fed in chunks one after the other. */
function alone(path: string, chunk: number, options: SessionOptions, count = 2): string[] {
  const session = new NativeSession(path, { maxPositions: 32, ...options });
  const digests = Array.from({ length: count }, (_, sequence) => {
    const hash = createHash("sha256");
    session.reset();
    session.feed(idsOf(sequence), chunk, (_row, logits) => void hash.update(Buffer.from(logits.slice().buffer)));
    return hash.digest("hex");
  });
  session.dispose();
  return digests;
}

/** The same, `count` sequences running together. */
function together(path: string, options: SessionOptions, count: number): string[] {
  const session = new NativeSession(path, { ...tiled, ...options, sequences: count });
  const hashes = Array.from({ length: count }, () => createHash("sha256"));
  for (let i = 0; i < length; i++) {
    const tokens = hashes.map((_, sequence) => idsOf(sequence)[i] as number);
    session.feedTogether(tokens, (sequence, logits) => {
      hashes[sequence]?.update(Buffer.from(logits.slice().buffer));
    });
  }
  session.dispose();
  return hashes.map((hash) => hash.digest("hex"));
}

/** Row counts that leave ragged tiles, as far as the type's block lets them. */
function raggedSizes(type: TensorTypeName): ModelOptions {
  if (tensorTypes[type][1] === 256) return { nHeads: 4, nKvHeads: 1, headDim: 64, vocabSize: 333 };
  return { nHeads: 4, nKvHeads: 1, headDim: 24, vocabSize: 333, dim: 96, hiddenDim: 160 };
}

function checkPath(path: string): { exact: string[]; int8: string[] } {
  const exact = alone(path, length, { threads: 1, isa: "scalar" }, most);
  const int8 = alone(path, length, { ...tiled, threads: 1, isa: "scalar", tables: "int8" }, most);
  for (const [tables, reference] of Object.entries({ exact, int8 }) as ["exact" | "int8", string[]][]) {
    const name = (isa: Isa, threads: number, more: string) => `${tables}: ${isa}, ${threads} threads, ${more}`;
    for (const isa of available)
      t.same(alone(path, 1, { ...tiled, threads: 1, isa, tables }), reference.slice(0, 2), name(isa, 1, "chunks of 1"));
    for (const threads of [1, 2]) {
      for (const chunk of [3, 5, length])
        t.same(
          alone(path, chunk, { ...tiled, threads, isa: best, tables }),
          reference.slice(0, 2),
          name(best, threads, `chunks of ${chunk}`),
        );
      for (let count = 2; count <= most; count++)
        t.same(
          together(path, { threads, isa: best, tables }, count),
          reference.slice(0, count),
          name(best, threads, `${count} sequences`),
        );
    }
  }
  return { exact, int8 };
}

for (const type of types) {
  t.test(`one answer: ${type}`, (t) => {
    const { exact, int8 } = checkPath(tinyModel({ ...raggedSizes(type), type }));
    t.not(exact[0], exact[1], "sequences differ");
    t.not(exact[0], int8[0], "8-bit tables are an approximation");
    t.end();
  });
}

t.test("gate, up and down of different types, some without planes", (t) => {
  const byName: Record<string, TensorTypeName> = { ffn_gate: "Q4_K", ffn_up: "Q6_K", ffn_down: "F16", attn_q: "Q8_0" };
  const type = (name: string): TensorTypeName => byName[name.split(".")[2] ?? ""] ?? "Q5_0";
  checkPath(tinyModel({ type }));
  checkPath(tinyModel({ type, architecture: "gemma3" }));
  t.end();
});

const load = (path: string, tiles?: string[]): number =>
  binding.modelAcquire(path, 1, new Int32Array(1), undefined, tiles);
/** Of the weights that products have: rows of the embedding are read one by one. */
const kernelsOf = (handle: number): string[] => {
  const tensors = binding.modelTensors(handle).filter(({ name }) => name !== "token_embd.weight");
  return [...new Set(tensors.map(({ kernel }) => kernel))];
};

t.test("which types are looked up", (t) => {
  for (const type of [...types, "Q6_K", "Q8_0", "F16", "BF16", "F32"] as TensorTypeName[]) {
    const handle = load(tinyModel({ ...raggedSizes(type), type }), ["all"]);
    t.same(kernelsOf(handle), [types.includes(type) ? "lut" : "dot"], type);
    t.equal(binding.modelTensors(handle).find(({ name }) => name === "token_embd.weight")?.kernel, "dot");
    binding.modelRelease(handle);
  }
  t.end();
});

t.test("one row of activations with tables of several sets", (t) => {
  const byName: Record<string, TensorTypeName> = { attn_q: "IQ4_XS", attn_k: "Q4_K", attn_v: "MXFP4" };
  const more: Record<string, TensorTypeName> = { ffn_gate: "IQ4_NL", ffn_up: "Q5_0", ffn_down: "MXFP4" };
  const type = (name: string): TensorTypeName => ({ ...byName, ...more })[name.split(".")[2] ?? ""] ?? "IQ4_NL";
  checkPath(tinyModel({ nHeads: 4, nKvHeads: 1, headDim: 64, dim: 256, hiddenDim: 288, type }));
  t.end();
});

t.test("panels and planes of one file are two copies, each shared", (t) => {
  const path = tinyModel({ type: "Q4_0" });
  const handles = [load(path), load(path, []), load(path, ["all"]), load(path, ["all"])];
  const kernels = handles.map(kernelsOf);
  t.same(kernels, [["dot"], ["dot"], ["lut"], ["lut"]]);
  for (const handle of handles) binding.modelRelease(handle);
  t.throws(() => load(path, "all" as never), { name: "TypeError", message: /tiles: expected/ });
  t.end();
});

t.test("the option", async (t) => {
  const path = tinyModel({ type: "Q4_0" });
  const answer = async (matmul: unknown) => {
    await using model = await loadModel(path, { matmul, maxSequences: 1 } as object);
    const { tokens, logprobs, timings } = await model.generate([5, 9, 3], {
      maxTokens: 8,
      temperature: 0,
      logprobs: true,
      ignoreEos: true,
    });
    const { approximations } = await model.perplexity([5, 9, 3, 8, 1, 2]);
    t.same(approximations, timings.approximations);
    return { info: model.info.matmul, tokens, logprobs, approximations };
  };
  const dot = await answer("dot");
  t.same(dot.info, { type: "dot" });
  t.same(await answer("auto"), { ...dot, info: { type: "auto", forms: [] } }, "nothing here is worth measuring");
  const exact = await answer("lut");
  t.same(exact, { ...dot, info: { type: "lut", tables: "exact" } });
  t.same((await answer({ type: "lut", tables: "int8" })).info, { type: "lut", tables: "int8" });
  const int8 = await answer({ type: "lut", tables: "int8" });
  t.match(int8.approximations, [/^lut int8/]);
  t.notSame(int8.logprobs, dot.logprobs);

  await using model = await loadModel(path, { matmul: { type: "lut", tables: "int8" }, maxSequences: 1 });
  const { against } = await model.perplexity([5, 9, 3, 8, 1, 2, 7, 7, 1], { against: "exact" });
  t.ok(against && against.klMean > 0 && against.klMean < 0.1, `compared with exact tables: KL ${against?.klMean}`);

  for (const [value, message] of [
    ["gemm", /^matmul: expected "auto", "dot", "lut" or/],
    [5, /^matmul: expected/],
    [["lut"], /^matmul: expected/],
    [{ type: "dot" }, /^matmul.type: expected "lut", got "dot"/],
    [{ type: "lut", tables: "int4" }, /^matmul.tables: expected "exact" or "int8", got "int4"/],
    [{ type: "lut", table: "int8" }, /^matmul.table is not an option; did you mean "tables"/],
  ] as const)
    await t.rejects(loadModel(path, { matmul: value } as object), { code: "INVALID_OPTION", message });
});

t.test("a session of approximate products is nobody else's", async (t) => {
  const path = tinyModel({ type: "Q4_0" });
  const file = `${t.testdir()}/a.session`;
  await using approximate = await loadModel(path, { matmul: { type: "lut", tables: "int8" }, maxSequences: 1 });
  const session = approximate.session();
  await session.generate([5, 9, 3], { maxTokens: 4, temperature: 0, ignoreEos: true });
  await session.save(file);
  await approximate.loadSession(file);
  await using exact = await loadModel(path, { matmul: "lut", maxSequences: 1 });
  await t.rejects(exact.loadSession(file), { name: "SessionFileError", message: /kvCacheType/ });
});
