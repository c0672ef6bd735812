/**
 * A chat as prompt pieces. Template text may spell control tokens; a message's content may not (a prompt injection).
 * Content that spells one gets a mark inside the spelling, at a code point nobody uses; the template is rendered as
 * always; the text is cut at the marks, and each piece is encoded alone, with control tokens parsed. The spelling then
 * straddles a cut, so it stays text whatever the template does with it. Content without any is encoded in one piece,
 * exactly as rendered.
 */
import type { NativeBinding } from "../binding/native.js";
import { checkMessages, renderChat, type RenderOptions } from "../chat/index.js";
import { createError } from "../errors.js";
import type { ChatMessage } from "../types.js";

export interface ControlTokens {
  binding: NativeBinding;
  tokenizer: number;
  /** Text of a control token by id; null for every other token seen so far. */
  spellings: Map<number, string | null>;
}

const firstPrivateUse = 0xe000;
const lastPrivateUse = 0xf8ff;
const maxPasses = 64;

export function renderPieces(
  template: string,
  given: unknown,
  options: RenderOptions,
  control: ControlTokens,
): string[] {
  const messages = checkMessages(given);
  const spelled = messages.map(({ content }) => spelledIn(content, control));
  if (spelled.every((set) => set.size === 0)) return [renderChat(template, messages, options)];
  const mark = unusedMark(messages, template);
  const guarded = messages.map((message) => ({ ...message, content: breakSpellings(message.content, mark, control) }));
  return renderChat(template, guarded, options)
    .split(mark)
    .filter((piece) => piece !== "");
}

/** Control tokens that the text would become, if it were parsed for them. */
function spelledIn(text: string, { binding, tokenizer, spellings }: ControlTokens): Set<string> {
  const found = new Set<string>();
  for (const id of new Set(binding.encode(tokenizer, text, false, true))) {
    let spelling = spellings.get(id);
    if (spelling === undefined) {
      spelling = controlSpelling(id, binding, tokenizer);
      spellings.set(id, spelling);
    }
    if (spelling !== null) found.add(spelling);
  }
  return found;
}

function controlSpelling(id: number, binding: NativeBinding, tokenizer: number): string | null {
  if (binding.tokenBytes(tokenizer, id, false).length > 0) return null;
  const shown = binding.tokenBytes(tokenizer, id, true);
  return shown.length > 0 ? Buffer.from(shown).toString("utf8") : null;
}

/** Marks after the first character of every spelling, until no piece between marks spells one. */
function breakSpellings(content: string, mark: string, control: ControlTokens): string {
  let guarded = content;
  for (let pass = 0; pass < maxPasses; pass++) {
    const spelled = new Set<string>();
    for (const piece of guarded.split(mark)) {
      for (const spelling of spelledIn(piece, control)) spelled.add(spelling);
    }
    if (spelled.size === 0) return guarded;
    for (const spelling of spelled) {
      const [first = ""] = spelling;
      guarded = guarded.replaceAll(spelling, first + mark + spelling.slice(first.length));
    }
  }
  throw createError(
    "INVALID_MESSAGES",
    "messages: a content spells control tokens in a way that cannot be made plain text",
  );
}

function unusedMark(messages: ChatMessage[], template: string): string {
  for (let code = firstPrivateUse; code <= lastPrivateUse; code++) {
    const mark = String.fromCharCode(code);
    if (!template.includes(mark) && messages.every(({ content }) => !content.includes(mark))) return mark;
  }
  throw createError("INVALID_MESSAGES", "messages: their contents use every private-use character");
}
