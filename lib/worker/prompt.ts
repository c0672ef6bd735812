/** A request's prompt as token ids, checked against the vocabulary. */
import { createError } from "../errors.js";
import type { TextSource } from "./generation.js";
import type { PromptInput } from "./protocol.js";

export function encodePrompt(input: PromptInput, source: TextSource): Int32Array {
  switch (input.kind) {
    case "text":
      return source.binding.encode(source.tokenizer, input.text, true, input.parseSpecial);
    case "tokens":
      return checkTokens(input.tokens, source.vocab.size);
    case "pieces":
      return encodePieces(input.pieces, source);
  }
}

/**
 * A rendered chat. A template that spells the beginning-of-sequence token itself must not get a second one; one that
 * does not, gets it when the vocabulary asks for it.
 */
function encodePieces(pieces: string[], source: TextSource): Int32Array {
  const { binding, tokenizer, vocab } = source;
  const encoded = pieces.map((piece) => binding.encode(tokenizer, piece, false, true));
  const lead = vocab.addBos && vocab.bos >= 0 && encoded[0]?.[0] !== vocab.bos ? 1 : 0;
  const ids = new Int32Array(encoded.reduce((sum, part) => sum + part.length, lead));
  if (lead) ids[0] = vocab.bos;
  let at = lead;
  for (const part of encoded) {
    ids.set(part, at);
    at += part.length;
  }
  return ids;
}

function checkTokens(tokens: Int32Array, vocabSize: number): Int32Array {
  const bad = tokens.findIndex((token) => token < 0 || token >= vocabSize);
  if (bad >= 0) {
    throw createError(
      "INVALID_TOKEN",
      `prompt[${bad}]: expected a token id in [0, ${vocabSize - 1}], got ${tokens[bad]}`,
    );
  }
  return tokens;
}
