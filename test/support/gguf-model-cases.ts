/**
 * Well-formed GGUF files whose content a model, or its tokenizer, must refuse: classes G7, G9, G12 and G14–G16 of the
 * catalogue of bad inputs, each with the code it must get, plus neighbours that must load ("OK").
 */
import {
  buildModel,
  value,
  vocabularyOnly,
  withMetadata,
  withTensor,
  type GgufSpec,
  type GgufTensor,
  type GgufValue,
  type TensorTypeName,
} from "./gguf-builder.js";
import { bpeVocabulary } from "./gguf-vocabulary.js";
import { randomTensor, withFloat } from "./gguf-weights.js";

export interface ModelCase {
  name: string;
  /** The code it must get, or "OK". */
  code: string;
  /** What the message must name. */
  says?: string;
  spec: GgufSpec;
}

const base = buildModel();
const spm = buildModel({ tokenizer: "spm" });

const key = (name: string, v: GgufValue | undefined, problem: string, code = "MODEL_BAD_METADATA"): ModelCase => ({
  name: `${problem}: ${name}`,
  code,
  says: name,
  spec: withMetadata(base, { [name]: v }),
});

const typeCases: ModelCase[] = [
  key("llama.attention.head_count", value.string("4"), "G7 string"),
  key("llama.block_count", value.f32(2), "G7 float"),
  key("llama.embedding_length", value.bool(true), "G7 bool"),
  key("llama.context_length", value.array("u32", [512]), "G7 array"),
  key("llama.rope.freq_base", value.string("10000"), "G7 string"),
  key("llama.attention.layer_norm_rms_epsilon", value.u32(1), "G7 integer"),
  key("general.architecture", value.u32(1), "G7 integer"),
  key("general.architecture", undefined, "G7 missing"),
  key("llama.block_count", undefined, "G7 missing"),
  key("llama.attention.layer_norm_rms_epsilon", undefined, "G7 missing"),
  key("general.architecture", value.string("mamba"), "unknown architecture", "MODEL_UNSUPPORTED_ARCH"),
  { name: "vocabulary without weights", code: "MODEL_NO_WEIGHTS", spec: vocabularyOnly() },
];

const rangeCases: ModelCase[] = [
  key("llama.attention.head_count", value.u32(0), "G9 zero"),
  key("llama.attention.head_count", value.i32(-4), "G9 negative"),
  key("llama.attention.head_count_kv", value.u32(0), "G9 zero"),
  key("llama.attention.head_count_kv", value.u32(3), "G9 no divisor"),
  key("llama.block_count", value.u32(0), "G9 zero"),
  key("llama.block_count", value.u32(2 ** 31), "G9 huge"),
  key("llama.embedding_length", value.u32(0), "G9 zero"),
  key("llama.embedding_length", value.u32(2 ** 32 - 1), "G9 huge"),
  key("llama.feed_forward_length", value.u32(0), "G9 zero"),
  key("llama.context_length", value.u32(0), "G9 zero"),
  key("llama.context_length", value.u64(1n << 40n), "G9 huge"),
  key("llama.attention.key_length", value.u32(1024), "G9 head size"),
  key("llama.rope.dimension_count", value.u32(15), "G9 odd"),
  key("llama.rope.dimension_count", value.u32(32), "G9 larger than a head"),
  ...[0, -1e-6, Number.NaN, Number.POSITIVE_INFINITY].map((x) =>
    key("llama.attention.layer_norm_rms_epsilon", value.f32(x), `G9 ${x}`),
  ),
  ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map((x) => key("llama.rope.freq_base", value.f32(x), `G9 ${x}`)),
  key("llama.expert_count", value.u32(8), "G9 experts", "MODEL_UNSUPPORTED_ARCH"),
  key("llama.rope.scaling.type", value.string("sideways"), "unknown scaling", "MODEL_UNSUPPORTED_ARCH"),
];

const tensor = (
  name: string,
  problem: string,
  code: string,
  change: (t: GgufTensor) => GgufTensor | undefined,
  from = base,
): ModelCase => ({
  name: `${problem}: ${name}`,
  code,
  says: code === "OK" ? undefined : name,
  spec: withTensor(from, name, change),
});
const gone = (): undefined => undefined;
const reshaped =
  (...shape: number[]) =>
  (t: GgufTensor): GgufTensor => ({
    ...t,
    shape,
    data: new Uint8Array(shape.reduce((product, dim) => product * dim, 4)),
  });

const shapeCases: ModelCase[] = [
  tensor("token_embd.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("output_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.1.ffn_down.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.0.attn_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.1.attn_k.bias", "G14 missing", "MODEL_MISSING_TENSOR", gone, buildModel({ architecture: "qwen2" })),
  tensor(
    "blk.1.attn_q_norm.weight",
    "G14 missing",
    "MODEL_MISSING_TENSOR",
    gone,
    buildModel({ architecture: "qwen3" }),
  ),
  tensor(
    "blk.5.post_ffw_norm.weight",
    "G14 missing",
    "MODEL_MISSING_TENSOR",
    gone,
    buildModel({ architecture: "gemma3" }),
  ),
  tensor("output.weight", "no output: the embedding is used", "OK", gone),
  tensor("blk.0.attn_k.weight", "G14 transposed", "MODEL_BAD_SHAPE", reshaped(32, 64)),
  tensor("blk.0.attn_q.weight", "G14 rows", "MODEL_BAD_SHAPE", reshaped(64, 63)),
  tensor("blk.1.ffn_gate.weight", "G14 three dimensions", "MODEL_BAD_SHAPE", reshaped(64, 128, 2)),
  tensor("blk.1.ffn_norm.weight", "G14 length", "MODEL_BAD_SHAPE", reshaped(63)),
  tensor("blk.1.ffn_norm.weight", "G14 two rows", "MODEL_BAD_SHAPE", reshaped(64, 2)),
  tensor("output.weight", "G14 rows", "MODEL_BAD_SHAPE", reshaped(64, 319)),
  {
    ...tensor("token_embd.weight", "G9 rows differ from the vocabulary", "MODEL_BAD_METADATA", reshaped(64, 319)),
    code: "MODEL_BAD_METADATA",
  },
  {
    name: "extra tensor is ignored",
    code: "OK",
    spec: { ...base, tensors: [...base.tensors, { ...(base.tensors[1] as GgufTensor), name: "extra.weight" }] },
  },
  {
    name: "types differ from tensor to tensor",
    code: "OK",
    spec: buildModel({
      type: (name) => (name.includes("attn_v") ? "Q6_K" : name.startsWith("blk.0") ? "Q4_K" : "Q8_0"),
    }),
  },
  ...(["Q8_1", "IQ2_XXS"] as TensorTypeName[]).map(
    (type): ModelCase => ({
      name: `G12 ${type}`,
      code: "MODEL_UNSUPPORTED_TYPE",
      says: type,
      spec: buildModel({ type: (name) => (name === "blk.1.ffn_up.weight" ? type : "Q4_K") }),
    }),
  ),
  tensor("blk.1.ffn_norm.weight", "G12 norm of integers", "MODEL_UNSUPPORTED_TYPE", (t) => ({ ...t, type: "I32" })),
];

/** Two bytes of the tensor set: a half-precision scale of a block, or an element. */
const half =
  (offset: number, bits: number) =>
  (t: GgufTensor): GgufTensor => {
    const data = t.data.slice();
    new DataView(data.buffer).setUint16(offset, bits, true);
    return { ...t, data };
  };
const element =
  (index: number, x: number) =>
  (t: GgufTensor): GgufTensor => ({ ...t, data: withFloat(t.data, index, x) });
const weight = "blk.1.ffn_up.weight";

const finiteCases: ModelCase[] = [
  tensor("blk.1.ffn_norm.weight", "G15 NaN", "MODEL_NONFINITE", element(63, Number.NaN)),
  tensor("output_norm.weight", "G15 infinity", "MODEL_NONFINITE", element(0, Number.NEGATIVE_INFINITY)),
  tensor(weight, "G15 NaN in F32", "MODEL_NONFINITE", element(64 * 127 + 63, Number.NaN)),
  tensor("token_embd.weight", "G15 infinity in F32", "MODEL_NONFINITE", element(100, Number.POSITIVE_INFINITY)),
  tensor(
    "blk.0.attn_q.bias",
    "G15 NaN",
    "MODEL_NONFINITE",
    element(5, Number.NaN),
    buildModel({ architecture: "qwen2" }),
  ),
  tensor(weight, "G15 NaN in F16", "MODEL_NONFINITE", half(202, 0x7e01), buildModel({ type: "F16" })),
  tensor(weight, "G15 infinity in BF16", "MODEL_NONFINITE", half(202, 0xff80), buildModel({ type: "BF16" })),
  ...(
    [
      ["Q4_0", 18, 0],
      ["Q4_1", 20, 2],
      ["Q5_0", 22, 0],
      ["Q5_1", 24, 2],
      ["Q8_0", 34, 0],
      ["Q2_K", 84, 80],
      ["Q3_K", 110, 108],
      ["Q4_K", 144, 2],
      ["Q5_K", 176, 0],
      ["Q6_K", 210, 208],
      ["IQ4_NL", 18, 0],
      ["IQ4_XS", 136, 0],
      ["TQ1_0", 54, 52],
      ["TQ2_0", 66, 64],
    ] as [TensorTypeName, number, number][]
  ).map(([type, blockBytes, place], i) =>
    tensor(
      weight,
      `G15 ${i % 2 ? "NaN" : "infinity"} in a scale of ${type}`,
      "MODEL_NONFINITE",
      half(7 * blockBytes + place, i % 2 ? 0x7e00 : 0xfc00),
      buildModel({ type }),
    ),
  ),
  tensor(weight, "G15 NaN in a scale of MXFP4", "MODEL_NONFINITE", half(7 * 17, 0xff), buildModel({ type: "MXFP4" })),
  tensor(weight, "G15 MXFP4 past float", "MODEL_NONFINITE", half(7 * 17, 0xfd), buildModel({ type: "MXFP4" })),
  tensor(weight, "all zero loads", "OK", (t) => ({ ...t, data: new Uint8Array(t.data.length) })),
  tensor(weight, "denormals load", "OK", (t) => ({ ...t, data: randomTensor("F32", t.shape, 1e-40, 3) })),
  tensor(weight, "denormal scales load", "OK", half(18 * 7, 1), buildModel({ type: "Q4_0" })),
  tensor(weight, "the smallest power of two loads", "OK", half(7 * 17, 0x3200), buildModel({ type: "MXFP4" })),
];

const vocabulary = (
  name: string,
  code: string,
  changes: Record<string, GgufValue | undefined>,
  from = base,
): ModelCase => ({
  name,
  code,
  spec: withMetadata(from, changes),
});
const ggml = (field: string, v: GgufValue | undefined): Record<string, GgufValue | undefined> => ({
  [`tokenizer.ggml.${field}`]: v,
});
const texts = (...values: string[]): GgufValue => value.array("string", values);
const numbered = Array.from({ length: 320 }, (_, i) => `t${i}`);
const withLongToken = ["x".repeat(1_000_000), ...bpeVocabulary(320).tokens.slice(1)];
const unknown = "TOKENIZER_UNSUPPORTED";
const badVocab = "TOKENIZER_BAD_VOCAB";
const badMetadata = "MODEL_BAD_METADATA";

const vocabularyCases: ModelCase[] = [
  vocabulary("G16 fewer types than tokens", badVocab, ggml("token_type", value.array("i32", Array(319).fill(1)))),
  vocabulary("G16 fewer scores than tokens", badVocab, ggml("scores", value.array("f32", Array(12).fill(0))), spm),
  vocabulary("G16 NaN score", badVocab, ggml("scores", value.array("f32", Array(320).fill(Number.NaN))), spm),
  vocabulary("G16 no tokens", badMetadata, ggml("tokens", texts())),
  vocabulary("G16 tokens missing", badMetadata, ggml("tokens", undefined)),
  vocabulary("G16 tokens are numbers", badMetadata, ggml("tokens", value.array("u32", Array(320).fill(1)))),
  vocabulary("G16 merges are numbers", badMetadata, ggml("merges", value.array("u32", [1]))),
  vocabulary("G16 merges missing", badVocab, ggml("merges", undefined)),
  vocabulary("G16 merge without a space", badVocab, ggml("merges", texts("nospace"))),
  vocabulary("G16 bos past the vocabulary", badMetadata, ggml("bos_token_id", value.u32(320))),
  vocabulary("G16 eos past the vocabulary", badMetadata, ggml("eos_token_id", value.u32(100000))),
  vocabulary("G16 eos -1", badMetadata, ggml("eos_token_id", value.i32(-1))),
  vocabulary("G16 bos is a string", badMetadata, ggml("bos_token_id", value.string("<s>"))),
  vocabulary("missing byte tokens load", "OK", ggml("tokens", texts(...numbered))),
  vocabulary("duplicate tokens load", "OK", ggml("tokens", value.array("string", Array(320).fill("same")))),
  vocabulary("merges of unknown pieces are ignored", "OK", ggml("merges", texts("qq zz", "t h"))),
  vocabulary("merges in a circle load", "OK", ggml("merges", texts("t h", "th e", "the t", "h th", "e the"))),
  vocabulary("a token of 1 MB loads", "OK", ggml("tokens", texts(...withLongToken))),
  vocabulary("unknown tokenizer", unknown, ggml("model", value.string("runes"))),
  vocabulary("unknown pre-tokenizer", unknown, ggml("pre", value.string("nobody-knows"))),
];

export const modelCases: readonly ModelCase[] = [
  ...typeCases,
  ...rangeCases,
  ...shapeCases,
  ...finiteCases,
  ...vocabularyCases,
];
