/** Tiny but complete vocabularies: byte-level BPE (`gpt2`) and SentencePiece (`llama`), as GGUF metadata. */
import { value, type GgufEntry } from "./gguf-builder.js";

export type TokenizerKind = "bpe" | "spm";

export interface Vocabulary {
  tokens: string[];
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  types: number[];
  scores?: number[];
  merges?: string[];
  bos: number;
  eos: number;
  unknown?: number;
}

const letters = "etaoinshrdlucmfwygpbvkxqjz";

/** GPT-2's byte alphabet: printable Latin-1 bytes as themselves, the others from U+0100 on. */
function byteAlphabet(): string[] {
  let moved = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(printable ? byte : 0x100 + moved++);
  });
}

const commonMerges = [
  "\u0120 t",
  "h e",
  "\u0120 a",
  "i n",
  "r e",
  "\u0120t he",
  "\u0120 w",
  "o n",
  "\u0120 s",
  "e r",
  "n d",
  "\u0120 o",
  "\u0120 c",
  "\u0120a nd",
  "in g",
  "l l",
  "o r",
  "a t",
  "\u0120 i",
  "\u0120i s",
];

/** 3 control tokens, 256 bytes, then one token a merge up to `size`; what pairs of letters cannot fill is reserved. */
export function bpeVocabulary(size: number): Vocabulary {
  const tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", ...byteAlphabet()];
  const types: number[] = tokens.map((_, id) => (id < 3 ? 3 : 1));
  const merges: string[] = [];
  const known = new Set(tokens);
  const addMerge = (merge: string): void => {
    const token = merge.replace(" ", "");
    if (tokens.length >= size || known.has(token)) return;
    known.add(token);
    merges.push(merge);
    tokens.push(token);
    types.push(1);
  };
  commonMerges.forEach(addMerge);
  for (const a of letters) for (const b of letters) addMerge(`${a} ${b}`);
  while (tokens.length < size) {
    tokens.push(`<|reserved_${tokens.length}|>`);
    types.push(3);
  }
  return { tokens, types, merges, bos: 0, eos: 2 };
}

/** <unk> <s> </s>, 256 byte tokens, then pieces by falling score. */
export function spmVocabulary(size: number): Vocabulary {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes];
  const types: number[] = tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : 6));
  const scores = tokens.map(() => 0);
  const known = new Set(tokens);
  const addPiece = (piece: string): void => {
    if (tokens.length >= size || known.has(piece)) return;
    known.add(piece);
    tokens.push(piece);
    types.push(1);
    scores.push(-(tokens.length - 259));
  };
  [
    "\u2581",
    ...letters,
    "\u2581t",
    "he",
    "\u2581the",
    "\u2581a",
    "in",
    "er",
    "on",
    "re",
    "\u2581s",
    ".",
    ",",
    "T",
  ].forEach(addPiece);
  for (const a of letters) for (const b of letters) addPiece(a + b);
  for (const a of letters) for (const b of letters) addPiece(`\u2581${a}${b}`);
  while (tokens.length < size) {
    tokens.push(`<unused${tokens.length}>`);
    types.push(5);
    scores.push(-1e6);
  }
  return { tokens, types, scores, bos: 1, eos: 2, unknown: 0 };
}

/** The tokenizer.ggml.* entries of a vocabulary. `pre` is used by BPE only. */
export function vocabularyMetadata(vocabulary: Vocabulary, pre: string): GgufEntry[] {
  const bpe = vocabulary.merges !== undefined;
  const entries: GgufEntry[] = [["tokenizer.ggml.model", value.string(bpe ? "gpt2" : "llama")]];
  entries.push(["tokenizer.ggml.pre", value.string(bpe ? pre : "default")]);
  entries.push(["tokenizer.ggml.tokens", value.array("string", vocabulary.tokens)]);
  if (vocabulary.scores) entries.push(["tokenizer.ggml.scores", value.array("f32", vocabulary.scores)]);
  entries.push(["tokenizer.ggml.token_type", value.array("i32", vocabulary.types)]);
  if (vocabulary.merges) entries.push(["tokenizer.ggml.merges", value.array("string", vocabulary.merges)]);
  entries.push(["tokenizer.ggml.bos_token_id", value.u32(vocabulary.bos)]);
  entries.push(["tokenizer.ggml.eos_token_id", value.u32(vocabulary.eos)]);
  if (vocabulary.unknown !== undefined)
    entries.push(["tokenizer.ggml.unknown_token_id", value.u32(vocabulary.unknown)]);
  entries.push(["tokenizer.ggml.add_bos_token", value.bool(!bpe)]);
  return entries;
}
