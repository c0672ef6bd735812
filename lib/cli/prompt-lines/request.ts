/**
 * A line of the input as a request: `{"prompt": …}` or `{"messages": […]}` with an optional `id` and the library's
 * generation options beside it, or a JSON string, which is a prompt. The library checks prompt, messages and options; here
 * is checked what makes a line a request. Nothing is thrown: a wrong line is a request that has failed already.
 */
import { createHash } from "node:crypto";
import { invalidOption, InvalidOptionError, type LutraError, toLutraError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { ChatMessage, ChatOptions } from "../../types.js";
import type { Line } from "./read-lines.js";

/** Checked by the library, so the values may be anything. */
export type Call = { options: ChatOptions } & (
  | { prompt: string | number[]; messages?: undefined }
  | { messages: ChatMessage[]; prompt?: undefined }
);

export interface Request {
  /** Among the requests of the input, from 0; blank lines are none. */
  index: number;
  /** Number of its line, from 1. */
  line: number;
  id: string | number | undefined;
  /** Of the line's bytes; undefined when it is too long to be read. */
  hash: string | undefined;
  /** Offset in the input behind its line. */
  end: number;
  call: Call | LutraError;
}

/** Not to be named in a file: they are the command's own. */
const ownNames = ["signal", "onPromptProgress"];

/** @throws InvalidOptionError when the input holds binary data from its start on */
export async function* readRequests(lines: AsyncIterable<Line>, name: string): AsyncGenerator<Request> {
  let index = 0;
  for await (const { number, bytes, end } of lines) {
    const text = bytes && decode(number === 1 ? withoutMark(bytes) : bytes);
    if (number === 1 && (text === undefined || text?.includes("\0")))
      throw new InvalidOptionError("INVALID_OPTION", `${name}: expected JSON lines in UTF-8, got binary data`);
    if (text?.trim() === "") continue;
    const hash = bytes ? createHash("sha256").update(bytes).digest("hex").slice(0, 16) : undefined;
    yield { index: index++, line: number, hash, end, ...readLine(text) };
  }
}

function withoutMark(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.length >= 3 && bytes.readUIntBE(0, 3) === 0xefbbbf ? 3 : 0);
}

/** Undefined: not UTF-8. */
function decode(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function readLine(text: string | null | undefined): Pick<Request, "id" | "call"> {
  let id: Request["id"];
  try {
    const value = parse(text);
    if (typeof value === "string") return { id, call: { prompt: value, options: {} } };
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw invalidOption("the line", 'an object with "prompt" or "messages", or a string', value);
    const { id: givenId, ...rest } = value as Record<string, unknown>;
    id = checkId(givenId);
    return { id, call: toCall(rest) };
  } catch (thrown) {
    return { id, call: toLutraError(thrown) };
  }
}

function parse(text: string | null | undefined): unknown {
  if (text === null) {
    const limit = `at most ${limits.promptLines.maxLineBytes} bytes`;
    throw new InvalidOptionError("INVALID_OPTION", `the line: expected ${limit}, got more`);
  }
  if (text === undefined) throw new InvalidOptionError("INVALID_OPTION", "the line: expected UTF-8, got other bytes");
  try {
    return JSON.parse(text);
  } catch {
    throw invalidOption("the line", "JSON", text);
  }
}

function checkId(id: unknown): string | number | undefined {
  if (id === undefined || Number.isSafeInteger(id)) return id as number | undefined;
  if (typeof id === "string" && id.length <= limits.promptLines.maxIdLength) return id;
  throw invalidOption("id", `a string of at most ${limits.promptLines.maxIdLength} characters or a whole number`, id);
}

function toCall({ prompt, messages, ...options }: Record<string, unknown>): Call {
  const own = ownNames.find((name) => Object.hasOwn(options, name));
  if (own !== undefined) throw invalidOption(own, "no such option in a line", options[own]);
  if (prompt !== undefined && messages !== undefined) throw invalidOption("messages", "none beside a prompt", messages);
  if (messages !== undefined) return { messages: messages as ChatMessage[], options: options as ChatOptions };
  if (prompt === undefined) throw invalidOption("prompt", 'a string (or "messages" in its place)', prompt);
  return { prompt: prompt as string, options: options as ChatOptions };
}
