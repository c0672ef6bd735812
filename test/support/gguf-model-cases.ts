/**
 * Well-formed GGUF files whose content a model, or its tokenizer, must refuse: classes G7, G9, G12 and G14–G16 of the
 * catalogue of bad inputs, each with the code it must get, plus neighbours that must load ("OK").
 */
import {
  buildModel, value, vocabularyOnly, withMetadata, withTensor, type GgufSpec, type GgufTensor, type GgufValue, type TensorTypeName,
} from "./gguf-builder.js";
import { randomTensor, withFloat } from "./gguf-weights.js";

export interface ModelCase {
  name: string;
  /** Codes that are right; the first one is the expected spelling. */
  codes: readonly string[];
  /** What the message must name. */
  says?: string;
  spec: GgufSpec;
}

const base = buildModel();
const spm = buildModel({ tokenizer: "spm" });

const key = (name: string, v: GgufValue | undefined, problem: string, ...codes: string[]): ModelCase => ({
  name: `${problem}: ${name}`,
  codes: codes.length > 0 ? codes : ["MODEL_BAD_METADATA"],
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
  { name: "vocabulary without weights", codes: ["MODEL_NO_WEIGHTS"], spec: vocabularyOnly() },
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
  ...[0, -1e-6, Number.NaN, Number.POSITIVE_INFINITY].map((x) => key("llama.attention.layer_norm_rms_epsilon", value.f32(x), `G9 ${x}`)),
  ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map((x) => key("llama.rope.freq_base", value.f32(x), `G9 ${x}`)),
  key("llama.expert_count", value.u32(8), "G9 experts", "MODEL_UNSUPPORTED_ARCH", "MODEL_BAD_METADATA"),
  key("llama.rope.scaling.type", value.string("sideways"), "unknown scaling", "MODEL_UNSUPPORTED_ARCH"),
];

const tensor = (name: string, problem: string, code: string, change: (t: GgufTensor) => GgufTensor | undefined, from = base): ModelCase => ({
  name: `${problem}: ${name}`, codes: [code], says: code === "OK" ? undefined : name, spec: withTensor(from, name, change),
});
const gone = (): undefined => undefined;
const reshaped = (...shape: number[]) => (t: GgufTensor): GgufTensor => ({
  ...t, shape, data: new Uint8Array(shape.reduce((product, dim) => product * dim, 4)),
});

const shapeCases: ModelCase[] = [
  tensor("token_embd.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("output_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.1.ffn_down.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.0.attn_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone),
  tensor("blk.1.attn_k.bias", "G14 missing", "MODEL_MISSING_TENSOR", gone, buildModel({ architecture: "qwen2" })),
  tensor("blk.1.attn_q_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone, buildModel({ architecture: "qwen3" })),
  tensor("blk.5.post_ffw_norm.weight", "G14 missing", "MODEL_MISSING_TENSOR", gone, buildModel({ architecture: "gemma3" })),
  tensor("output.weight", "no output: the embedding is used", "OK", gone),
  tensor("blk.0.attn_k.weight", "G14 transposed", "MODEL_BAD_SHAPE", reshaped(32, 64)),
  tensor("blk.0.attn_q.weight", "G14 rows", "MODEL_BAD_SHAPE", reshaped(64, 63)),
  tensor("blk.1.ffn_gate.weight", "G14 three dimensions", "MODEL_BAD_SHAPE", reshaped(64, 128, 2)),
  tensor("blk.1.ffn_norm.weight", "G14 length", "MODEL_BAD_SHAPE", reshaped(63)),
  tensor("blk.1.ffn_norm.weight", "G14 two rows", "MODEL_BAD_SHAPE", reshaped(64, 2)),
  tensor("output.weight", "G14 rows", "MODEL_BAD_SHAPE", reshaped(64, 319)),
  {
    ...tensor("token_embd.weight", "G9 rows differ from the vocabulary", "MODEL_BAD_METADATA", reshaped(64, 319)),
    codes: ["MODEL_BAD_METADATA", "MODEL_BAD_SHAPE"],
  },
  { name: "extra tensor is ignored", codes: ["OK"], spec: { ...base, tensors: [...base.tensors, { ...(base.tensors[1] as GgufTensor), name: "extra.weight" }] } },
  {
    name: "types differ from tensor to tensor", codes: ["OK"],
    spec: buildModel({ type: (name) => (name.includes("attn_v") ? "Q6_K" : name.startsWith("blk.0") ? "Q4_K" : "Q8_0") }),
  },
  ...(["Q8_1", "IQ2_XXS", "TQ1_0", "MXFP4"] as TensorTypeName[]).map((type): ModelCase => ({
    name: `G12 ${type}`, codes: ["MODEL_UNSUPPORTED_TYPE"], says: type,
    spec: buildModel({ type: (name) => (name === "blk.1.ffn_up.weight" ? type : "Q4_K") }),
  })),
  tensor("blk.1.ffn_norm.weight", "G12 norm of integers", "MODEL_UNSUPPORTED_TYPE", (t) => ({ ...t, type: "I32" })),
];

/** Two bytes of the tensor set: a half-precision scale of a block, or an element. */
const half = (offset: number, bits: number) => (t: GgufTensor): GgufTensor => {
  const data = t.data.slice();
  new DataView(data.buffer).setUint16(offset, bits, true);
  return { ...t, data };
};
const element = (index: number, x: number) => (t: GgufTensor): GgufTensor => ({ ...t, data: withFloat(t.data, index, x) });
const weight = "blk.1.ffn_up.weight";

const finiteCases: ModelCase[] = [
  tensor("blk.1.ffn_norm.weight", "G15 NaN", "MODEL_NONFINITE", element(63, Number.NaN)),
  tensor("output_norm.weight", "G15 infinity", "MODEL_NONFINITE", element(0, Number.NEGATIVE_INFINITY)),
  tensor(weight, "G15 NaN in F32", "MODEL_NONFINITE", element(64 * 127 + 63, Number.NaN)),
  tensor("token_embd.weight", "G15 infinity in F32", "MODEL_NONFINITE", element(100, Number.POSITIVE_INFINITY)),
  tensor("blk.0.attn_q.bias", "G15 NaN", "MODEL_NONFINITE", element(5, Number.NaN), buildModel({ architecture: "qwen2" })),
  tensor(weight, "G15 NaN in F16", "MODEL_NONFINITE", half(202, 0x7e01), buildModel({ type: "F16" })),
  tensor(weight, "G15 infinity in BF16", "MODEL_NONFINITE", half(202, 0xff80), buildModel({ type: "BF16" })),
  ...([
    ["Q4_0", 18, 0], ["Q4_1", 20, 2], ["Q5_0", 22, 0], ["Q5_1", 24, 2], ["Q8_0", 34, 0], ["Q2_K", 84, 80], ["Q3_K", 110, 108],
    ["Q4_K", 144, 2], ["Q5_K", 176, 0], ["Q6_K", 210, 208], ["IQ4_NL", 18, 0], ["IQ4_XS", 136, 0],
  ] as [TensorTypeName, number, number][]).map(([type, blockBytes, place], i) =>
    tensor(weight, `G15 ${i % 2 ? "NaN" : "infinity"} in a scale of ${type}`, "MODEL_NONFINITE", half(7 * blockBytes + place, i % 2 ? 0x7e00 : 0xfc00),
      buildModel({ type }))),
  tensor(weight, "all zero loads", "OK", (t) => ({ ...t, data: new Uint8Array(t.data.length) })),
  tensor(weight, "denormals load", "OK", (t) => ({ ...t, data: randomTensor("F32", t.shape, 1e-40, 3) })),
  tensor(weight, "denormal scales load", "OK", half(18 * 7, 1), buildModel({ type: "Q4_0" })),
];

const refused = "TOKENIZER_BAD_VOCAB";
const vocabulary = (name: string, changes: Record<string, GgufValue | undefined>, codes: string[] = [refused], from = base): ModelCase => ({
  name, codes, spec: withMetadata(from, changes),
});
const tokens = (count: number, prefix = "t"): GgufValue => value.array("string", Array.from({ length: count }, (_, i) => `${prefix}${i}`));

const vocabularyCases: ModelCase[] = [
  vocabulary("G16 fewer types than tokens", { "tokenizer.ggml.token_type": value.array("i32", Array(319).fill(1)) }),
  vocabulary("G16 fewer scores than tokens", { "tokenizer.ggml.scores": value.array("f32", Array(12).fill(0)) }, [refused], spm),
  vocabulary("G16 NaN score", { "tokenizer.ggml.scores": value.array("f32", Array(320).fill(Number.NaN)) }, [refused], spm),
  vocabulary("G16 no tokens", { "tokenizer.ggml.tokens": value.array("string", []) }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("G16 tokens missing", { "tokenizer.ggml.tokens": undefined }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("G16 tokens are numbers", { "tokenizer.ggml.tokens": value.array("u32", Array(320).fill(1)) }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("G16 merges are numbers", { "tokenizer.ggml.merges": value.array("u32", [1]) }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("G16 merges missing", { "tokenizer.ggml.merges": undefined }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("G16 bytes missing", { "tokenizer.ggml.tokens": tokens(320) }, [refused, "OK"]),
  vocabulary("G16 duplicate tokens", { "tokenizer.ggml.tokens": value.array("string", Array(320).fill("same")) }, [refused, "OK"]),
  vocabulary("G16 merge of unknown pieces", { "tokenizer.ggml.merges": value.array("string", ["qq zz", "t h"]) }, [refused, "OK"]),
  vocabulary("G16 merge without a space", { "tokenizer.ggml.merges": value.array("string", ["nospace"]) }, [refused, "OK"]),
  vocabulary("G16 bos past the vocabulary", { "tokenizer.ggml.bos_token_id": value.u32(320) }),
  vocabulary("G16 eos past the vocabulary", { "tokenizer.ggml.eos_token_id": value.u32(100000) }),
  vocabulary("G16 eos -1", { "tokenizer.ggml.eos_token_id": value.i32(-1) }, [refused, "MODEL_BAD_METADATA", "OK"]),
  vocabulary("G16 bos is a string", { "tokenizer.ggml.bos_token_id": value.string("<s>") }, [refused, "MODEL_BAD_METADATA"]),
  vocabulary("unknown tokenizer", { "tokenizer.ggml.model": value.string("runes") }, ["TOKENIZER_UNSUPPORTED"]),
  vocabulary("unknown pre-tokenizer", { "tokenizer.ggml.pre": value.string("nobody-knows") }, ["TOKENIZER_UNSUPPORTED"]),
];

export const modelCases: readonly ModelCase[] = [...typeCases, ...rangeCases, ...shapeCases, ...finiteCases, ...vocabularyCases];
