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
    case "encoded":
      return input.tokens;
  }
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
