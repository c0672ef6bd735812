/** Checks of chat messages: errors carry the path of the wrong field. */
import { type InvalidOptionError, createError, describeValue } from "../errors.js";
import { limits } from "../limits.js";
import type { ChatMessage } from "../types.js";

const roles = ["system", "user", "assistant", "tool"] as const;

function invalid(field: string, expected: string, found: unknown, cause?: unknown): InvalidOptionError {
  const text = `${field}: expected ${expected}, got ${describeValue(found)}`;
  return createError("INVALID_MESSAGES", text, cause === undefined ? undefined : { cause }) as InvalidOptionError;
}

function read(source: unknown, name: string, field: string): unknown {
  try {
    return (source as Record<string, unknown>)[name];
  } catch (cause) {
    throw createError("INVALID_MESSAGES", `${field}: reading it threw an error`, { cause });
  }
}

function checkMessage(message: unknown, path: string): ChatMessage {
  if (typeof message !== "object" || message === null) throw invalid(path, "an object with role and content", message);
  const role = read(message, "role", `${path}.role`);
  if (!roles.includes(role as ChatMessage["role"])) {
    throw invalid(`${path}.role`, `one of ${roles.map((name) => `"${name}"`).join(", ")}`, role);
  }
  const content = read(message, "content", `${path}.content`);
  if (typeof content === "object" && content !== null) {
    throw invalid(`${path}.content`, "a string (content parts, images and audio are not supported)", content);
  }
  if (typeof content !== "string") throw invalid(`${path}.content`, "a string", content);
  return { role: role as ChatMessage["role"], content };
}

/** Plain copies of the messages, each field read once. @throws InvalidOptionError with code INVALID_MESSAGES */
export function checkMessages(messages: unknown): ChatMessage[] {
  let isArray = false;
  try {
    isArray = Array.isArray(messages);
  } catch (cause) {
    throw invalid("messages", "an array", "a revoked proxy", cause);
  }
  if (!isArray) throw invalid("messages", "an array of {role, content}", messages);
  const count = Number(read(messages, "length", "messages"));
  if (count === 0) throw invalid("messages", "at least one message", messages);
  const { maxMessages } = limits.template;
  if (count > maxMessages) throw invalid("messages", `at most ${maxMessages} messages`, messages);
  const checked: ChatMessage[] = [];
  for (let i = 0; i < count; i++)
    checked.push(checkMessage(read(messages, String(i), `messages[${i}]`), `messages[${i}]`));
  return checked;
}
