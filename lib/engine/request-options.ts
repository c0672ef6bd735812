/** What a request's arguments become before they are posted: every value checked, read once, and plain. */
import { createError, invalidOption } from "../errors.js";
import { resolveSampling, type SamplingParams } from "../sampling/index.js";
import type { ChatOptions, GenerateOptions } from "../types.js";
import type { PromptInput } from "../worker/index.js";
import { checkObject } from "./load-options.js";

export interface GenerateCall {
  params: SamplingParams;
  signal: AbortSignal | undefined;
  onPromptProgress: GenerateOptions["onPromptProgress"];
}

export interface ChatCall extends GenerateCall {
  chatTemplate: string | undefined;
  chatTemplateKwargs: Record<string, unknown> | undefined;
}

const chatNames = ["chatTemplate", "chatTemplateKwargs"];

export function resolveGenerateCall(
  options: unknown,
  vocabSize: number,
  alsoKnown: readonly string[] = [],
): GenerateCall {
  const given = checkObject(options) as GenerateOptions;
  const params = resolveSampling(given, { vocabSize, alsoKnown });
  return { params, signal: given.signal, onPromptProgress: given.onPromptProgress };
}

export function resolveChatCall(options: unknown, vocabSize: number): ChatCall {
  const given = checkObject(options) as ChatOptions;
  const call = resolveGenerateCall(given, vocabSize, chatNames);
  const { chatTemplate, chatTemplateKwargs } = given;
  if (chatTemplate !== undefined && typeof chatTemplate !== "string")
    throw invalidOption("chatTemplate", "a string", chatTemplate);
  return { ...call, chatTemplate, chatTemplateKwargs };
}

/** A copy of caller's token ids, every one in the vocabulary. @throws InvalidOptionError (INVALID_TOKEN) */
export function checkTokenIds(field: string, tokens: unknown, vocabSize: number): Int32Array {
  const isList = Array.isArray(tokens) || (ArrayBuffer.isView(tokens) && !(tokens instanceof DataView));
  if (!isList) throw invalidOption(field, "an array of token ids", tokens);
  const list = Array.from(tokens as ArrayLike<unknown>);
  const ids = new Int32Array(list.length);
  list.forEach((id, i) => {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      const found = typeof id === "number" ? id : typeof id;
      throw createError("INVALID_TOKEN", `${field}[${i}]: expected a token id in [0, ${vocabSize - 1}], got ${found}`);
    }
    ids[i] = id as number;
  });
  return ids;
}

export function checkPrompt(prompt: unknown, vocabSize: number, parseSpecial: boolean): PromptInput {
  if (typeof prompt === "string") return { kind: "text", text: prompt, parseSpecial };
  if (typeof prompt !== "object" || prompt === null)
    throw invalidOption("prompt", "a string or an array of token ids", prompt);
  return { kind: "tokens", tokens: checkTokenIds("prompt", prompt, vocabSize) };
}
