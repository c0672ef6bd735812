/** The texts that are scored: two kinds of English, as token ids. */
import { readFileSync } from "node:fs";
import { binding } from "../../dist/esm/binding/index.js";
import { sharedText } from "../compare/shared-text.mjs";

export const textNames = ["wikitext2-valid.txt", "shakespeare.txt"];

/** { encode, lead, close }: `lead` is what a text begins with, a token or none. */
export function openTokenizer(path) {
  const tokenizer = binding.tokenizerAcquire(path);
  const { addBos, bos } = binding.vocab(tokenizer);
  return {
    encode: (text) => binding.encode(tokenizer, text, false, false),
    lead: addBos && bos >= 0 ? [bos] : [],
    close: () => binding.tokenizerRelease(tokenizer),
  };
}

export function readText(root, name) {
  return readFileSync(sharedText(root, name), "utf8");
}

/** Windows of the first `tokens` ids of a text, each a text of its own of at most `size` ids. */
export function cutWindows(ids, { tokens, size, lead }) {
  if (ids.length < tokens) throw new Error(`the text has ${ids.length} tokens, ${tokens} are wanted`);
  const windows = [];
  const step = size - lead.length;
  for (let from = 0; from < tokens; from += step) {
    const part = ids.subarray(from, Math.min(tokens, from + step));
    if (part.length + lead.length >= 2) windows.push(Int32Array.from([...lead, ...part]));
  }
  return windows;
}

/** Articles of WikiText: a heading between single equals signs begins one. */
export function splitArticles(text) {
  return text.split(/^(?= = [^=].*[^=] = $)/m).filter((part) => part.startsWith(" = "));
}
