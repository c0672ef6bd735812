/** What a request's arguments become before they are posted: every value checked, read once, and plain. */
import { createError, InvalidOptionError, invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import { generateOptionNames, readOptions, resolveSampling, type SamplingParams } from "../sampling/index.js";
import type { ChatOptions, GenerateOptions } from "../types.js";
import type { PromptInput } from "../worker/index.js";
import { checkText } from "./load-options.js";

export interface GenerateCall {
  params: SamplingParams;
  priority: number;
  cachePrompt: boolean;
  signal: AbortSignal | undefined;
  onPromptProgress: GenerateOptions["onPromptProgress"];
}

export interface ChatCall extends GenerateCall {
  chatTemplate: string | undefined;
  chatTemplateKwargs: Record<string, unknown> | undefined;
}

/** A request ready to be posted. */
export interface PreparedRequest {
  call: GenerateCall;
  prompt: PromptInput;
  namespace?: number;
  /** Called once: what was generated, and whether the request came to its own end. */
  onEnd?: (generated: readonly number[], completed: boolean) => void;
}

const chatNames = ["chatTemplate", "chatTemplateKwargs"];

export function resolveGenerateCall(options: unknown, vocabSize: number): GenerateCall {
  return toCall(readOptions(options, generateOptionNames), vocabSize);
}

export function resolveChatCall(options: unknown, vocabSize: number): ChatCall {
  const given = readOptions(options, [...generateOptionNames, ...chatNames]);
  const { chatTemplateKwargs } = given as ChatOptions;
  const chatTemplate = checkText("chatTemplate", given["chatTemplate"]);
  return { ...toCall(given, vocabSize), chatTemplate, chatTemplateKwargs };
}

/** `given` was read already: a getter cannot answer differently here and in resolveSampling. */
function toCall(given: Record<string, unknown>, vocabSize: number): GenerateCall {
  const params = resolveSampling(given, { vocabSize, alsoKnown: chatNames });
  const { priority = 0, cachePrompt = true, signal, onPromptProgress } = given as GenerateOptions;
  return { params, priority, cachePrompt, signal, onPromptProgress };
}

/** A copy of a caller's list; null when it is none, or cannot be read (a proxy, a detached buffer). */
function copyList(field: string, tokens: unknown): unknown[] | null {
  try {
    const isList = Array.isArray(tokens) || (ArrayBuffer.isView(tokens) && !(tokens instanceof DataView));
    if (!isList) return null;
    // Looked at before copying: an array of 2^32 holes costs its maker nothing.
    if ((tokens as ArrayLike<unknown>).length > limits.maxContextSize)
      throw invalidOption(field, `at most ${limits.maxContextSize} token ids`, tokens);
    return Array.from(tokens as ArrayLike<unknown>);
  } catch (thrown) {
    if (thrown instanceof InvalidOptionError) throw thrown;
    return null;
  }
}

/** A copy of a caller's token ids, every one in the vocabulary. @throws InvalidOptionError (INVALID_TOKEN) */
export function checkTokenIds(field: string, tokens: unknown, vocabSize: number): Int32Array {
  const list = copyList(field, tokens);
  if (list === null) throw invalidOption(field, "an array of token ids", tokens);
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

export function checkPrompt(field: string, prompt: unknown, vocabSize: number, parseSpecial: boolean): PromptInput {
  if (typeof prompt === "string") return { kind: "text", text: prompt, parseSpecial };
  if (typeof prompt !== "object" || prompt === null)
    throw invalidOption(field, "a string or an array of token ids", prompt);
  return { kind: "tokens", tokens: checkTokenIds(field, prompt, vocabSize) };
}
