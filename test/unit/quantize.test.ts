// quantizeModel(): every type from tiny models, what stays as it is, files of other shapes, and every way to end early.
import { appendFileSync, existsSync, linkSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel, type QuantizeOptions, quantizeModel, type TargetType } from "../../dist/esm/index.js";
import { targetTypeNames } from "../../dist/esm/quantization/index.js";
import {
  buildModel,
  encodeGguf,
  type GgufSpec,
  type GgufValue,
  splitSpec,
  value,
  vocabularyOnly,
  withAlignment,
  withMetadata,
  withTensor,
  writeGguf,
  writeParts,
} from "../support/gguf-builder.js";
import { randomTensor, toHalf, withFloat } from "../support/gguf-weights.js";

/** Rows of whole blocks of 256. */
const wide = { dim: 256, nHeads: 4, nKvHeads: 2, headDim: 64, hiddenDim: 512, vocabSize: 320, nLayers: 1 } as const;
const float = buildModel({ ...wide, type: "F32" });

/** Of random weights, about; a ternary type has no business with them. */
const errors: Record<TargetType, [number, number]> = {
  f32: [0, 0],
  f16: [1e-5, 3e-4],
  bf16: [1e-4, 3e-3],
  q8_0: [0.001, 0.006],
  q6_k: [0.005, 0.02],
  q5_k: [0.015, 0.04],
  q5_1: [0.015, 0.04],
  q5_0: [0.015, 0.045],
  q4_k: [0.03, 0.08],
  q4_1: [0.03, 0.08],
  q4_0: [0.03, 0.09],
  iq4_nl: [0.03, 0.09],
  iq4_xs: [0.03, 0.09],
  mxfp4: [0.05, 0.15],
  q3_k: [0.08, 0.18],
  q2_k: [0.15, 0.4],
  tq2_0: [0.2, 0.8],
  tq1_0: [0.2, 0.8],
};

t.test("every type: the table, the file, and an engine that runs it", async (t) => {
  const folder = t.testdir();
  const source = writeGguf(join(folder, "source.gguf"), float);
  t.same([...targetTypeNames].sort(), Object.keys(errors).sort());
  for (const type of targetTypeNames) {
    const file = join(folder, `${type}.gguf`);
    const result = await quantizeModel(source, file, { type, outputType: "q8_0" });
    const written = binding.inspectFile(file);
    t.equal(result.file, file);
    t.equal(result.sizeBytes, readFileSync(file).length);
    t.same(
      result.tensors.map(({ name, to, bytes }) => [name, to, bytes]),
      written.tensors.map(({ name, type, sizeBytes }) => [name, type, sizeBytes]),
    );
    const [low, high] = errors[type];
    for (const { name, to, error } of result.tensors) {
      const layer = /^blk\.0\.(attn_[qkv]|attn_output|ffn_\w+)\.weight$/.test(name) && !name.includes("norm");
      if (layer) t.equal(to, type.toUpperCase(), name);
      if (layer) t.ok(error >= low && error <= high, `${type}: an error of ${error}`);
      if (name === "output.weight") t.equal(to, "Q8_0");
      if (name.includes("norm")) t.match({ to, error }, { to: "F32", error: 0 });
    }
    await using model = await loadModel(file, { threads: 1, contextSize: 64, maxSequences: 1 });
    t.equal((await model.generate([1, 2, 3], { maxTokens: 4, ignoreEos: true })).tokens.length, 4);
  }
});

t.test("every type the engine reads is a source", async (t) => {
  const folder = t.testdir();
  for (const from of ["F16", "BF16", "Q8_0", "Q4_1", "Q6_K", "IQ4_XS", "TQ2_0", "MXFP4"] as const) {
    const source = writeGguf(join(folder, "source.gguf"), buildModel({ ...wide, type: from }));
    const { tensors, warnings } = await quantizeModel(source, join(folder, "out.gguf"), {
      type: "q5_k",
      overwrite: true,
    });
    const { error = 1 } = tensors.find(({ name }) => name === "blk.0.ffn_up.weight") ?? {};
    t.ok(error < 0.045, `${from}: ${error}`);
    const coarse = !["F16", "BF16", "Q8_0"].includes(from);
    t.equal(
      warnings.some((warning) => warning.includes(`quantised already (${from})`)),
      coarse,
      from,
    );
  }
});

t.test("thread counts and case do not matter", async (t) => {
  const folder = t.testdir();
  const source = writeGguf(join(folder, "f32.gguf"), float);
  const images = [];
  for (const [threads, type] of [
    [1, "q4_k"],
    [3, "Q4_K"],
  ] as const) {
    const { file } = await quantizeModel(source, join(folder, `${threads}.gguf`), {
      threads,
      type: type as TargetType,
    });
    images.push(readFileSync(file));
  }
  t.ok(images[0]?.equals(images[1] as Buffer));
});

const described = { "general.file_type": value.u32(0), "general.quantization_version": value.u32(2) };
const everyValue: Record<string, GgufValue> = {
  "test.u8": value.u8(200),
  "test.u16": value.u16(60_000),
  "test.i32": value.i32(-5),
  "test.u64": value.u64(2n ** 60n),
  "test.f32": value.f32(0.1),
  "test.i8": { type: "i8", value: -3 },
  "test.i16": { type: "i16", value: -300 },
  "test.i64": { type: "i64", value: -(2n ** 40n) },
  "test.f64": { type: "f64", value: Math.PI },
  "test.bool": value.bool(true),
  "test.text": value.string("ünïcode"),
  "test.bytes": value.string(Uint8Array.of(255, 0, 254)),
  "test.floats": value.array("f32", [1.5, -2]),
  "test.flags": value.array("bool", [true, false]),
  "test.texts": value.array("string", ["a", "", "c"]),
  "test.nothing": value.array("i64", []),
};

t.test("what is kept is kept bit for bit: all metadata, all bytes", async (t) => {
  const folder = t.testdir();
  const spec = withMetadata(withAlignment(float, 256), everyValue);
  const old = { "general.file_type": value.u32(1), "general.quantization_version": value.u32(1) };
  const whole = encodeGguf(withMetadata(spec, described));
  const cases: [string, string][] = [
    ["one file", writeGguf(join(folder, "one.gguf"), spec)],
    [
      "with older values of its own",
      writeGguf(join(folder, "old.gguf"), {
        ...spec,
        metadata: [...withMetadata({ ...spec, metadata: [] }, old).metadata, ...spec.metadata],
      }),
    ],
    [
      "GGUF version 2, no padding at the end",
      writeGguf(join(folder, "two.gguf"), { ...spec, version: 2, override: { unpadded: true } }),
    ],
    ["three parts", writeParts(folder, "split", splitSpec(spec, 3))],
  ];
  for (const [name, source] of cases) {
    const { file } = await quantizeModel(source, join(folder, "out.gguf"), { type: "f32", overwrite: true });
    t.ok(readFileSync(file).equals(whole), name);
  }
});

t.test("types in place of others, and tensors that stay", async (t) => {
  const folder = t.testdir();
  const plan = async (spec: GgufSpec, options: QuantizeOptions) => {
    const source = writeGguf(join(folder, "source.gguf"), spec);
    const { tensors, warnings } = await quantizeModel(source, join(folder, "out.gguf"), {
      ...options,
      overwrite: true,
    });
    return { to: Object.fromEntries(tensors.map(({ name, to }) => [name, to])), warnings };
  };
  // Rows of 96 and 48 elements.
  const narrow = buildModel({ type: "F32", dim: 96, nHeads: 2, nKvHeads: 2, headDim: 48, hiddenDim: 80, nLayers: 1 });
  for (const [type, rows96, rows80] of [
    ["q2_k", "IQ4_NL", "F16"],
    ["q3_k", "IQ4_NL", "F16"],
    ["iq4_xs", "IQ4_NL", "F16"],
    ["tq2_0", "Q4_0", "F16"],
    ["tq1_0", "Q4_0", "F16"],
    ["q4_k", "Q5_0", "F16"],
    ["q5_k", "Q5_1", "F16"],
    ["q6_k", "Q8_0", "F16"],
    ["q4_0", "Q4_0", "F16"],
    ["bf16", "BF16", "BF16"],
  ] as const) {
    const { to, warnings } = await plan(narrow, { type });
    t.match(to, { "blk.0.ffn_up.weight": rows96, "blk.0.ffn_down.weight": rows80 }, type);
    t.equal(to["token_embd.weight"], type === "bf16" ? "BF16" : "Q8_0", "q6_k does not fit either");
    if (type === "q4_k")
      t.ok(warnings.includes("6 tensors have rows that are not whole blocks of q4_k: written as q5_0"), `${warnings}`);
  }
  t.match((await plan(float, { type: "q4_k" })).to, { "token_embd.weight": "Q6_K", "output.weight": "Q6_K" });
  t.match((await plan(float, { type: "q8_0" })).to, { "token_embd.weight": "Q8_0", "output.weight": "Q8_0" });
  const chosen = { type: "q4_0", embeddingType: "q5_0", outputType: "f16" } as const;
  t.match((await plan(float, chosen)).to, { "token_embd.weight": "Q5_0", "output.weight": "F16" });

  const others = [
    ["blk.0.ffn_gate_inp.weight", [256, 8]],
    ["blk.0.attn_k_norm.weight", [256, 8]],
    ["position_embd.weight", [256, 8]],
    ["blk.0.tiny.weight", [256, 3]],
    ["blk.0.attn_q.bias", [256, 8]],
    ["blk.0.ffn_up_exps.weight", [256, 4, 2]],
  ] as const;
  const tensors = others.map(([name, shape]) => ({
    name,
    shape,
    type: "F32" as const,
    data: randomTensor("F32", shape, 1, 1),
  }));
  const { to } = await plan({ ...float, tensors: [...float.tensors, ...tensors] }, { type: "q4_0" });
  t.same(
    others.map(([name]) => to[name]),
    ["F32", "F32", "F32", "F32", "F32", "Q4_0"],
  );
});

t.test("sources that cannot be quantised", async (t) => {
  const folder = t.testdir();
  const name = "blk.0.ffn_up.weight";
  const with32 = (index: number, x: number): GgufSpec =>
    withTensor(float, name, (tensor) => ({ ...tensor, data: withFloat(tensor.data, index, x) }));
  const half = buildModel({ ...wide, type: "F16" });
  const infinite = withTensor(half, name, (tensor) => {
    const data = tensor.data.slice();
    new DataView(data.buffer).setUint16(2 * 700, toHalf(Number.POSITIVE_INFINITY), true);
    return { ...tensor, data };
  });
  const unread = withTensor(float, name, (tensor) => ({
    ...tensor,
    type: "IQ2_XXS",
    data: randomTensor("IQ2_XXS", tensor.shape, 1, 1),
  }));
  const parts = splitSpec(float, 3);
  const cases: [string, GgufSpec, TargetType, string, RegExp][] = [
    ["NaN", with32(1000, Number.NaN), "q4_0", "MODEL_NONFINITE", /ffn_up\.weight, row 3: .*NaN or infinity/],
    ["infinity in F16", infinite, "q4_k", "MODEL_NONFINITE", /ffn_up\.weight, row 2/],
    ["more than F16 holds", with32(0, 70_000), "f16", "MODEL_OUT_OF_RANGE", /row 0: .*up to 65504.* found 70000/],
    ["more than Q2_K holds", with32(0, -1e9), "q2_k", "MODEL_OUT_OF_RANGE", /Q2_K holds, found -1e\+09/],
    ["a type that is not read", unread, "q4_0", "MODEL_UNSUPPORTED_TYPE", /ffn_up.weight: .*found IQ2_XXS/],
    ["no weights", vocabularyOnly(), "q4_0", "MODEL_NO_WEIGHTS", /a vocabulary only/],
    ["cut", { ...float, override: { cutTo: -3000 } }, "q4_0", "GGUF_TRUNCATED", /incomplete download/],
    ["not GGUF", { ...float, override: { magic: Buffer.from("PK\x03\x04") } }, "q4_0", "GGUF_BAD_MAGIC", /zip/],
    ["one part of three", parts[0] as GgufSpec, "q4_0", "GGUF_SPLIT", /./],
  ];
  for (const [what, spec, type, code, message] of cases) {
    const source = writeGguf(join(folder, "source.gguf"), spec);
    await t.rejects(quantizeModel(source, join(folder, "out.gguf"), { type }), { code, message }, what);
    t.same(readdirSync(folder), ["source.gguf"], `${what}: nothing is left`);
  }
  await t.rejects(quantizeModel(join(folder, "absent.gguf"), join(folder, "out.gguf"), { type: "q4_0" }), {
    code: "MODEL_NOT_FOUND",
  });
});

t.test("outputs that cannot be written", async (t) => {
  const folder = t.testdir({ folder: {}, parts: {}, "there.gguf": "old" });
  const place = (name: string) => join(folder, name);
  const source = writeGguf(place("source.gguf"), float);
  const before = readFileSync(source);
  symlinkSync(place("there.gguf"), place("link.gguf"));
  symlinkSync(source, place("to-source.gguf"));
  linkSync(source, place("same.gguf"));
  const files = readdirSync(folder);
  const parts = writeParts(place("parts"), "split", splitSpec(float, 2));
  const cases: [string, string, string, string, boolean, RegExp][] = [
    ["exists", source, "there.gguf", "OUTPUT_EXISTS", false, /exists/],
    ["a folder", source, "folder", "OUTPUT_IO", true, /a folder/],
    ["a link", source, "link.gguf", "OUTPUT_IO", true, /a symbolic link/],
    ["no folder", source, join("absent", "out.gguf"), "OUTPUT_NOT_FOUND", true, /does not exist/],
    ["a file for a folder", source, join("there.gguf", "out.gguf"), "OUTPUT_NOT_FOUND", true, /not one/],
    ["the source", source, "source.gguf", "INVALID_OPTION", true, /another file than the source/],
    ["a hard link to the source", source, "same.gguf", "INVALID_OPTION", true, /another file than the source/],
    ["a link to the source", source, "to-source.gguf", "INVALID_OPTION", true, /another file than the source/],
    ["a long name", source, "x".repeat(300), "OUTPUT_IO", true, /too long/],
  ];
  for (const [what, from, name, code, overwrite, message] of cases)
    await t.rejects(quantizeModel(from, place(name), { type: "q4_0", overwrite }), { code, message }, what);
  await t.rejects(quantizeModel(parts, parts.replace("00001-of", "00002-of"), { type: "q4_0", overwrite: true }), {
    message: /another file than the source/,
  });
  t.same(readdirSync(folder), files);
  t.ok(readFileSync(source).equals(before));
  t.equal(readFileSync(place("there.gguf"), "utf8"), "old");
  await quantizeModel(source, place("there.gguf"), { type: "q4_0", overwrite: true });
  t.equal(binding.inspectFile(place("there.gguf")).metadata["general.file_type"], 2);
});

t.test("wrong options", async (t) => {
  const source = writeGguf(join(t.testdir(), "f32.gguf"), float);
  const cases: [unknown, RegExp][] = [
    [undefined, /type: expected one of f32, .*tq1_0, got undefined/],
    [{ type: "q4" }, /type: expected one of .*got "q4"/],
    [{ type: "__proto__" }, /type: expected one of/],
    [{ type: "q4_0", outputType: 4 }, /outputType: expected one of .*got 4/],
    [{ type: "q4_0", embeddingType: "q8" }, /embeddingType: .*got "q8"/],
    [{ type: "q4_0", threads: 0 }, /threads: expected an integer in/],
    [{ type: "q4_0", overwrite: "yes" }, /overwrite: expected true or false/],
    [{ type: "q4_0", onProgress: 1 }, /onProgress: expected a function/],
    [{ type: "q4_0", signal: {} }, /signal: expected an AbortSignal/],
    [{ type: "q4_0", tpye: "q4_0" }, /"tpye" is not an option; did you mean "type"/],
  ];
  for (const [options, message] of cases)
    await t.rejects(quantizeModel(source, `${source}.out`, options as QuantizeOptions), {
      code: "INVALID_OPTION",
      message,
    });
  for (const output of ["", "a\0b", 7])
    await t.rejects(quantizeModel(source, output as string, { type: "q4_0" }), { message: /output: expected a path/ });
  t.notOk(existsSync(`${source}.out`));
});

t.test("progress, and ends before the end", async (t) => {
  const folder = t.testdir();
  // Sixteen million weights: most of a second.
  const spec = buildModel({ ...wide, type: "Q4_0", dim: 512, nHeads: 8, hiddenDim: 8192, vocabSize: 4096 });
  const source = writeGguf(join(folder, "source.gguf"), spec);
  const out = join(folder, "out.gguf");
  const seen: number[] = [];
  const options = { type: "iq4_xs", threads: 1 } as const;
  const { tensors } = await quantizeModel(source, out, {
    ...options,
    onProgress: ({ doneWeights, totalWeights }) => seen.push(doneWeights / totalWeights),
  });
  t.ok(tensors.length > 5);
  t.equal(seen.at(-1), 1);
  t.ok(seen.length > 2 && seen.every((share, i) => share >= (seen[i - 1] ?? 0)), `${seen}`);

  const again = { ...options, overwrite: true };
  const before = readFileSync(out);
  t.equal(
    await quantizeModel(source, out, { ...again, signal: AbortSignal.abort() }).catch(({ code }) => code),
    "ABORTED",
  );
  const late = new AbortController();
  const aborted = quantizeModel(source, out, { ...again, signal: late.signal, onProgress: () => late.abort("enough") });
  await t.rejects(aborted, { name: "AbortedError", code: "ABORTED", cause: "enough" });
  const thrown = new Error("no more");
  const onProgress = () => {
    throw thrown;
  };
  await t.rejects(quantizeModel(source, out, { ...again, onProgress }), { code: "CALLBACK_FAILED", cause: thrown });
  t.same(readdirSync(folder), ["out.gguf", "source.gguf"]);
  t.ok(readFileSync(out).equals(before), "the old file stays");
});

t.test("the native functions check what they are given", (t) => {
  const folder = t.testdir();
  const source = writeGguf(join(folder, "f32.gguf"), float);
  const { tensors } = binding.inspectFile(source);
  const types = Int32Array.from(tensors, ({ typeId }) => typeId);
  t.throws(() => binding.conversionOpen(source, types.subarray(1), 0, 1), { code: "MODEL_CHANGED" });
  const at = tensors.findIndex(({ name }) => name === "blk.0.ffn_up.weight");
  for (const [id, code] of [
    [9, "MODEL_UNSUPPORTED_TYPE"],
    [99, "MODEL_UNSUPPORTED_TYPE"],
    [-1, "MODEL_UNSUPPORTED_TYPE"],
  ] as const) {
    const wrong = types.slice();
    wrong[at] = id;
    t.throws(() => binding.conversionOpen(source, wrong, 0, 1), { code });
  }
  const norm = tensors.findIndex(({ name }) => name === "output_norm.weight");
  const narrow = writeGguf(join(folder, "narrow.gguf"), buildModel({ type: "F32" }));
  const narrowTypes = Int32Array.from(binding.inspectFile(narrow).tensors, () => 12);
  t.throws(() => binding.conversionOpen(narrow, narrowTypes, 0, 1), {
    code: "GGUF_BAD_TENSOR",
    message: /of 256 for Q4_K/,
  });

  const handle = binding.conversionOpen(source, types, 0, 2);
  const out = new Uint8Array(1 << 20);
  const sums = new Float64Array(2);
  t.equal(binding.conversionConvert(handle, norm, 0, 256, out, sums), 1024);
  t.same(out.subarray(0, 1024), float.tensors[norm]?.data);
  const bad: [number, number, number, Uint8Array, Float64Array][] = [
    [types.length, 0, 256, out, sums],
    [norm, 0, 512, out, sums],
    [norm, 1, 255, out, sums],
    [norm, 0, 100, out, sums],
    [norm, 256, 256, out, sums],
    [norm, 0, 0, out, sums],
    [norm, 0, 256, out.subarray(0, 1023), sums],
    [norm, 0, 256, out, new Float64Array(1)],
  ];
  for (const args of bad) t.throws(() => binding.conversionConvert(handle, ...args), TypeError, `${args.slice(0, 3)}`);
  binding.conversionCheck(handle);
  appendFileSync(source, "x");
  t.throws(() => binding.conversionCheck(handle), { code: "MODEL_CHANGED" });
  writeFileSync(source, "");
  t.throws(() => binding.conversionConvert(handle, norm, 0, 256, out, sums), { code: "GGUF_TRUNCATED" });
  binding.conversionRelease(handle);
  t.throws(() => binding.conversionHeader(handle), { code: "DISPOSED" });
  t.end();
});
