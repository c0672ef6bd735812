/** What a short-task thread runs (short-tasks.ts): renders a chat and encodes it, or encodes texts. */
import { getBinding } from "../binding/index.js";
import type { NativeBinding, NativeVocab } from "../binding/native.js";
import { createError, toLutraError } from "../errors.js";
import type { ChatMessage } from "../types.js";
import { type ControlTokens, renderPieces } from "./chat-prompt.js";
import type { PlainError } from "./protocol.js";

export interface ChatTask {
  kind: "chat";
  tokenizer: number;
  template: string;
  messages: ChatMessage[];
  kwargs: Record<string, unknown>;
}

export interface EncodeTask {
  kind: "encode";
  tokenizer: number;
  texts: string[];
  /** In a batch: the number of its first text, so that errors can name a text. */
  first?: number;
  addSpecial: boolean;
  parseSpecial: boolean;
}

export type ShortTask = ChatTask | EncodeTask;

/** Token ids of texts, one after the other, and how many each has. A chat is one text. */
export interface EncodedTexts {
  ids: Int32Array;
  counts: number[];
}

export type ShortReply = { ok: true; encoded: EncodedTexts } | { ok: false; error: PlainError };

interface ChatSource extends ControlTokens {
  vocab: NativeVocab;
  bosToken: string;
  eosToken: string;
}

/** What chats of a model need, by its tokenizer. Handles are never used twice, so an entry cannot be another model's. */
const sources = new Map<number, ChatSource>();
const maxSources = 4;

export default function runShortTask(task: ShortTask): ShortReply {
  try {
    const binding = getBinding();
    const parts = task.kind === "chat" ? [encodeChat(task, binding)] : encodeTexts(task, binding);
    return { ok: true, encoded: concatenate(parts) };
  } catch (thrown) {
    const { code, message } = toLutraError(thrown);
    return { ok: false, error: { code, message } };
  }
}

function encodeTexts(
  { tokenizer, texts, first, addSpecial, parseSpecial }: EncodeTask,
  binding: NativeBinding,
): Int32Array[] {
  return texts.map((text, i) => {
    try {
      return binding.encode(tokenizer, text, addSpecial, parseSpecial);
    } catch (thrown) {
      if (first === undefined) throw thrown;
      const { code, message } = toLutraError(thrown);
      throw createError(code, `texts[${first + i}]: ${message}`);
    }
  });
}

/**
 * A template that spells the beginning-of-sequence token itself must not get a second one; one that does not, gets it
 * when the vocabulary asks for it.
 */
function encodeChat({ tokenizer, template, messages, kwargs }: ChatTask, binding: NativeBinding): Int32Array {
  const source = sourceOf(tokenizer, binding);
  const { vocab, bosToken, eosToken } = source;
  const pieces = renderPieces(template, messages, { kwargs, bosToken, eosToken }, source);
  const parts = pieces.map((piece) => binding.encode(tokenizer, piece, false, true));
  const lacksBos = vocab.addBos && vocab.bos >= 0 && parts[0]?.[0] !== vocab.bos;
  return concatenate(lacksBos ? [Int32Array.of(vocab.bos), ...parts] : parts).ids;
}

function sourceOf(tokenizer: number, binding: NativeBinding): ChatSource {
  let source = sources.get(tokenizer);
  if (source === undefined) {
    const vocab = binding.vocab(tokenizer);
    const spell = (id: number): string =>
      id < 0 ? "" : Buffer.from(binding.tokenBytes(tokenizer, id, true)).toString("utf8");
    const bosToken = spell(vocab.bos);
    source = { binding, tokenizer, spellings: new Map(), vocab, bosToken, eosToken: spell(vocab.eos) };
  }
  sources.delete(tokenizer);
  sources.set(tokenizer, source);
  if (sources.size > maxSources) sources.delete(sources.keys().next().value as number);
  return source;
}

function concatenate(parts: Int32Array[]): EncodedTexts {
  const counts = parts.map(({ length }) => length);
  const ids = new Int32Array(counts.reduce((sum, count) => sum + count, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, counts };
}
