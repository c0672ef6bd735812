/** A request's prompt as token ids, checked against the vocabulary. */
import { createError } from "../errors.js";
import type { TextSource } from "./generation.js";
import type { PromptInput } from "./protocol.js";

export type Encoder = Pick<TextSource, "binding" | "tokenizer" | "vocab">;

export function encodePrompt(input: PromptInput, source: Encoder): Int32Array {
  switch (input.kind) {
    case "text":
      return source.binding.encode(source.tokenizer, input.text, true, input.parseSpecial);
    case "tokens":
      return checkTokens(input.tokens, source.vocab.size);
    case "encoded":
      return input.tokens;
  }
}

/** @throws InvalidOptionError, ContextOverflowError */
export function checkLength(field: string, tokens: Int32Array, contextSize: number): Int32Array {
  if (tokens.length === 0)
    throw createError("INVALID_OPTION", `${field}: expected at least one token, got an empty ${field}`);
  if (tokens.length <= contextSize) return tokens;
  throw createError(
    "CONTEXT_OVERFLOW",
    `the ${field} has ${tokens.length} tokens, but the context holds ${contextSize}; shorten it or load with a larger contextSize`,
  );
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
