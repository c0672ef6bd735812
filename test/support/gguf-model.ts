/**
 * Specs of tiny, complete, valid models: metadata, vocabulary and every tensor an architecture needs, under the names
 * and shapes GGUF files in the wild have, so that other engines load them too. Random weights, seeded.
 *
 * A new architecture is one entry of `architectures`; a new tensor type is one of `layouts` in gguf-weights.ts.
 */
import {
  tensorTypes,
  value,
  type GgufEntry,
  type GgufSpec,
  type GgufTensor,
  type TensorTypeName,
} from "./gguf-builder.js";
import {
  bpeVocabulary,
  spmVocabulary,
  vocabularyMetadata,
  type TokenizerKind,
  type Vocabulary,
} from "./gguf-vocabulary.js";
import { randomTensor, randomVector } from "./gguf-weights.js";

export type Architecture = "llama" | "gemma3" | "qwen2" | "qwen3";

export interface ModelOptions {
  architecture?: Architecture;
  /** Type of all matrices, or one for each by name (norms and biases are F32). */
  type?: TensorTypeName | ((name: string) => TensorTypeName);
  nLayers?: number;
  dim?: number;
  nHeads?: number;
  nKvHeads?: number;
  headDim?: number;
  hiddenDim?: number;
  vocabSize?: number;
  contextLength?: number;
  slidingWindow?: number;
  tokenizer?: TokenizerKind;
  /** Name of the BPE pre-tokenizer. */
  pre?: string;
  /** No output.weight: the embedding is used. Default: true for gemma3 only. */
  tiedOutput?: boolean;
  /** rope_freqs.weight with these factors (headDim / 2 of them), as Llama 3.1 has. */
  ropeFactors?: readonly number[];
  chatTemplate?: string;
  seed?: number;
  version?: 2 | 3;
  metadata?: readonly GgufEntry[];
}

type Sizes = Required<
  Pick<ModelOptions, "nLayers" | "dim" | "nHeads" | "nKvHeads" | "headDim" | "hiddenDim" | "vocabSize">
>;

interface LayerParts {
  qkvBias?: boolean;
  qkNorm?: boolean;
  postNorms?: boolean;
}

const architectures: Record<Architecture, LayerParts & { ropeBase: number; nLayers: number }> = {
  llama: { ropeBase: 10000, nLayers: 2 },
  // Six layers: five of the sliding window, one of full attention.
  gemma3: { qkNorm: true, postNorms: true, ropeBase: 1000000, nLayers: 6 },
  qwen2: { qkvBias: true, ropeBase: 1000000, nLayers: 2 },
  qwen3: { qkNorm: true, ropeBase: 1000000, nLayers: 2 },
};

/** Sizes whose rows are whole blocks of 256 when a type needs that, and as small as possible otherwise. */
function defaultSizes(options: ModelOptions): Sizes {
  const wide =
    typeof options.type === "function" || (options.type !== undefined && tensorTypes[options.type][1] === 256);
  const nHeads = options.nHeads ?? 4;
  return {
    nLayers: options.nLayers ?? architectures[options.architecture ?? "llama"].nLayers,
    dim: options.dim ?? (wide ? 256 : 64),
    nHeads,
    nKvHeads: options.nKvHeads ?? 2,
    headDim: options.headDim ?? (wide ? 64 : 16),
    hiddenDim: options.hiddenDim ?? (wide ? 512 : 128),
    vocabSize: options.vocabSize ?? 320,
  };
}

/** Collects tensors; each gets its own seed from its place. */
class TensorList {
  readonly tensors: GgufTensor[] = [];
  private seed: number;
  private readonly typeOf: (name: string) => TensorTypeName;
  constructor(options: ModelOptions) {
    const type = options.type ?? "F32";
    this.seed = (options.seed ?? 1) * 1000;
    this.typeOf = typeof type === "function" ? type : () => type;
  }
  matrix(name: string, cols: number, rows: number, gain = 1): void {
    const type = this.typeOf(name);
    const data = randomTensor(type, [cols, rows], gain / Math.sqrt(cols), this.seed++);
    this.tensors.push({ name, type, shape: [cols, rows], data });
  }
  vector(name: string, size: number, center: number, spread = 0.1): void {
    this.tensors.push({ name, type: "F32", shape: [size], data: randomVector(size, center, spread, this.seed++) });
  }
}

function addLayer(list: TensorList, layer: number, sizes: Sizes, parts: LayerParts): void {
  const { dim, nHeads, nKvHeads, headDim, hiddenDim } = sizes;
  const name = (part: string): string => `blk.${layer}.${part}`;
  const qDim = nHeads * headDim;
  const kvDim = nKvHeads * headDim;
  list.vector(name("attn_norm.weight"), dim, 1);
  list.matrix(name("attn_q.weight"), dim, qDim);
  list.matrix(name("attn_k.weight"), dim, kvDim);
  list.matrix(name("attn_v.weight"), dim, kvDim);
  list.matrix(name("attn_output.weight"), qDim, dim);
  if (parts.qkvBias) {
    list.vector(name("attn_q.bias"), qDim, 0);
    list.vector(name("attn_k.bias"), kvDim, 0);
    list.vector(name("attn_v.bias"), kvDim, 0);
  }
  if (parts.qkNorm) {
    list.vector(name("attn_q_norm.weight"), headDim, 1);
    list.vector(name("attn_k_norm.weight"), headDim, 1);
  }
  if (parts.postNorms) list.vector(name("post_attention_norm.weight"), dim, 1);
  list.vector(name("ffn_norm.weight"), dim, 1);
  list.matrix(name("ffn_gate.weight"), dim, hiddenDim);
  list.matrix(name("ffn_up.weight"), dim, hiddenDim);
  list.matrix(name("ffn_down.weight"), hiddenDim, dim);
  if (parts.postNorms) list.vector(name("post_ffw_norm.weight"), dim, 1);
}

function hyperParameters(architecture: Architecture, sizes: Sizes, options: ModelOptions): GgufEntry[] {
  const key = (name: string): string => `${architecture}.${name}`;
  const entries: GgufEntry[] = [
    ["general.architecture", value.string(architecture)],
    ["general.name", value.string(`tiny ${architecture}`)],
    [key("context_length"), value.u32(options.contextLength ?? 512)],
    [key("embedding_length"), value.u32(sizes.dim)],
    [key("block_count"), value.u32(sizes.nLayers)],
    [key("feed_forward_length"), value.u32(sizes.hiddenDim)],
    [key("attention.head_count"), value.u32(sizes.nHeads)],
    [key("attention.head_count_kv"), value.u32(sizes.nKvHeads)],
    [key("attention.key_length"), value.u32(sizes.headDim)],
    [key("attention.value_length"), value.u32(sizes.headDim)],
    [key("attention.layer_norm_rms_epsilon"), value.f32(1e-6)],
    [key("rope.freq_base"), value.f32(architectures[architecture].ropeBase)],
  ];
  if (architecture === "llama") {
    entries.push(
      [key("rope.dimension_count"), value.u32(sizes.headDim)],
      [key("vocab_size"), value.u32(sizes.vocabSize)],
    );
  }
  if (architecture === "gemma3")
    entries.push([key("attention.sliding_window"), value.u32(options.slidingWindow ?? 32)]);
  return entries;
}

function vocabularyOf(options: ModelOptions, size: number): Vocabulary {
  const kind = options.tokenizer ?? (options.architecture === "gemma3" ? "spm" : "bpe");
  return kind === "bpe" ? bpeVocabulary(size) : spmVocabulary(size);
}

export function buildModel(options: ModelOptions = {}): GgufSpec {
  const architecture = options.architecture ?? "llama";
  const sizes = defaultSizes(options);
  const { dim, vocabSize } = sizes;
  const metadata = [
    ...hyperParameters(architecture, sizes, options),
    ...vocabularyMetadata(
      vocabularyOf(options, vocabSize),
      options.pre ?? (architecture.startsWith("qwen") ? "qwen2" : "gpt-2"),
    ),
  ];
  if (options.chatTemplate !== undefined)
    metadata.push(["tokenizer.chat_template", value.string(options.chatTemplate)]);
  const list = new TensorList(options);
  // Gemma multiplies its embeddings by sqrt(dim) itself.
  list.matrix("token_embd.weight", dim, vocabSize, architecture === "gemma3" ? 1 : 4);
  for (let layer = 0; layer < sizes.nLayers; layer++) addLayer(list, layer, sizes, architectures[architecture]);
  list.vector("output_norm.weight", dim, 1);
  if (!(options.tiedOutput ?? architecture === "gemma3")) list.matrix("output.weight", dim, vocabSize, 3);
  if (options.ropeFactors) {
    const data = new Uint8Array(Float32Array.from(options.ropeFactors).buffer);
    list.tensors.push({ name: "rope_freqs.weight", type: "F32", shape: [options.ropeFactors.length], data });
  }
  return { metadata: [...metadata, ...(options.metadata ?? [])], tensors: list.tensors, version: options.version ?? 3 };
}

/** A vocabulary without weights, as tokenizer test files are. */
export function vocabularyOnly(options: ModelOptions = {}): GgufSpec {
  return { ...buildModel(options), tensors: [] };
}
