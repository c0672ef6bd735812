/**
 * The head of a GGUF file of version 3: metadata, a byte-level vocabulary of any size, and the tensor directory. The
 * vocabulary is 256 bytes, pairs of letters with their merges, then ordinary tokens no text leads to, so that any text
 * can be encoded and any token the model picks has a text.
 */
import { types } from "./blocks.mjs";

export const alignment = 32;
const typeIds = { u32: 4, f32: 6, string: 8, array: 9, i32: 5 };

export const padded = (size) => Math.ceil(size / alignment) * alignment;

/** Bytes of a tensor. */
export function tensorBytes(type, shape) {
  const { elements, bytes } = types[type];
  return (shape.reduce((product, size) => product * size, 1) / elements) * bytes;
}

class Bytes {
  parts = [];
  u32(value) {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.parts.push(part);
    return this;
  }
  u64(value) {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.parts.push(part);
    return this;
  }
  string(text) {
    const part = Buffer.from(text, "utf8");
    this.u64(part.length).parts.push(part);
    return this;
  }
  value(type, value) {
    if (type === "string") return this.string(value);
    if (type === "u32" || type === "i32") return this.u32(value);
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    this.parts.push(part);
    return this;
  }
  entry(key, type, value) {
    this.string(key);
    if (!Array.isArray(value)) return this.u32(typeIds[type]).value(type, value);
    this.u32(typeIds.array).u32(typeIds[type]).u64(value.length);
    for (const element of value) this.value(type, element);
    return this;
  }
}

/** GPT-2's byte alphabet: printable Latin-1 bytes as themselves, the others from U+0100 on. */
function byteAlphabet() {
  let moved = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(printable ? byte : 0x100 + moved++);
  });
}

function vocabularyOf(size) {
  const tokens = ["<|begin|>", "<|end|>", ...byteAlphabet()];
  const letters = [..."etaoinshrdlucmfwygpbvkxqjz"];
  const merges = letters.flatMap((a) => letters.map((b) => `${a} ${b}`)).slice(0, Math.max(0, size - tokens.length));
  tokens.push(...merges.map((merge) => merge.replace(" ", "")));
  while (tokens.length < size) tokens.push(`\u0120w${tokens.length}`);
  return { tokens, merges };
}

function entriesOf(shape, type, context) {
  const { tokens, merges } = vocabularyOf(shape.vocab);
  return [
    ["general.architecture", "string", "llama"],
    ["general.name", "string", "synthetic"],
    ["general.file_type", "u32", types[type].fileType],
    ["llama.context_length", "u32", context],
    ["llama.embedding_length", "u32", shape.dim],
    ["llama.block_count", "u32", shape.layers],
    ["llama.feed_forward_length", "u32", shape.hidden],
    ["llama.attention.head_count", "u32", shape.heads],
    ["llama.attention.head_count_kv", "u32", shape.kvHeads],
    ["llama.attention.layer_norm_rms_epsilon", "f32", 1e-5],
    ["llama.rope.dimension_count", "u32", shape.dim / shape.heads],
    ["llama.rope.freq_base", "f32", shape.ropeBase],
    ["llama.vocab_size", "u32", shape.vocab],
    ["tokenizer.ggml.model", "string", "gpt2"],
    ["tokenizer.ggml.pre", "string", "gpt-2"],
    ["tokenizer.ggml.tokens", "string", tokens],
    ["tokenizer.ggml.token_type", "i32", tokens.map((_, id) => (id < 2 ? 3 : 1))],
    ["tokenizer.ggml.merges", "string", merges],
    ["tokenizer.ggml.bos_token_id", "u32", 0],
    ["tokenizer.ggml.eos_token_id", "u32", 1],
  ];
}

/** Everything before the first tensor's bytes. `tensors`: { name, type, shape }. */
export function encodeHeader(shape, type, context, tensors) {
  const out = new Bytes();
  const entries = entriesOf(shape, type, context);
  out.parts.push(Buffer.from("GGUF"));
  out.u32(3).u64(tensors.length).u64(entries.length);
  for (const [key, valueType, value] of entries) out.entry(key, valueType, value);
  let offset = 0;
  for (const tensor of tensors) {
    out.string(tensor.name).u32(tensor.shape.length);
    for (const size of tensor.shape) out.u64(size);
    out.u32(types[tensor.type].id).u64(offset);
    offset += padded(tensorBytes(tensor.type, tensor.shape));
  }
  const head = Buffer.concat(out.parts);
  return Buffer.concat([head, Buffer.alloc(padded(head.length) - head.length)]);
}
