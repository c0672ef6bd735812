/** Every case of the shared vocabularies and of the real models' tokenizers, and lossless round trips over random text. */
import { readFileSync } from "node:fs";
import t, { type Test } from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { modelPath, type RealModelName } from "../support/models.js";
import { sharedPath } from "../support/shared-data.js";

interface Case {
  text: string;
  ids: number[];
}

const separator = "\n__ggml_vocab_test__\n";

/** Texts of an .inp file with the ids of the .out file's lines. */
function readCases(name: string): Case[] | null {
  const inputs = sharedPath(`tokenizer/${name}.inp`);
  const outputs = sharedPath(`tokenizer/${name}.out`);
  if (inputs === null || outputs === null) return null;
  const lines = readFileSync(outputs, "utf8").split("\n");
  const texts = readFileSync(inputs, "utf8").split(separator);
  if (texts.at(-1) === "") texts.pop();
  return texts.map((text, i) => ({ text, ids: (lines[i] ?? "").split(" ").filter(Boolean).map(Number) }));
}

/** A small seeded generator, so that a failure can be run again. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const pool = [
  ..."abcXYZ  \n\t'!.,$(7092",
  "\r\n",
  "'s",
  "'LL",
  "  ",
  "é",
  "e\u0301",
  "\u00a0",
  "あ",
  "漢",
  "한",
  "ك",
  "🦙",
  "👩‍👩‍👧",
  "\u{10ffff}",
  "\0",
  "\ufeff",
  "½",
  "٣",
  "ⅷ",
];

/** Half pool pieces, half any code point but surrogates and U+2581 (SentencePiece's own blank). */
function randomText(random: () => number): string {
  let text = "";
  for (let n = Math.floor(random() * 40); n > 0; n--) {
    if (random() < 0.8) {
      text += pool[Math.floor(random() * pool.length)];
      continue;
    }
    const codePoint = Math.floor(random() * (random() < 0.5 ? 0x3000 : 0x110000));
    if ((codePoint < 0xd800 || codePoint > 0xdfff) && codePoint !== 0x2581) text += String.fromCodePoint(codePoint);
  }
  return text;
}

/** Bytes a vocabulary has tokens for: SmolLM2 lacks a few control characters and the leads of empty planes. */
function knownBytes(handle: number): Set<number> {
  const known = new Set<number>();
  const { size } = binding.vocab(handle);
  for (let id = 0; id < size && known.size < 256; id++) {
    const bytes = binding.tokenBytes(handle, id, false);
    if (bytes.length === 1) known.add(bytes[0] as number);
  }
  return known;
}

function checkVocabulary(t: Test, path: string, cases: Case[]): void {
  const handle = binding.tokenizerAcquire(path);
  try {
    const decode = (ids: Int32Array): string =>
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(binding.decode(handle, ids, false));
    for (const { text, ids } of cases) {
      const found = binding.encode(handle, text, false, false);
      t.same(Array.from(found), ids, JSON.stringify(text.slice(0, 60)));
      t.equal(decode(found), text);
    }
    const random = createRandom(42);
    const known = knownBytes(handle);
    t.ok(known.size >= 230, `${known.size} bytes`);
    const lost: string[] = [];
    for (let i = 0; i < 2000; i++) {
      const text = randomText(random);
      if (!Buffer.from(text).every((byte) => known.has(byte))) continue;
      if (decode(binding.encode(handle, text, false, false)) !== text) lost.push(text);
    }
    t.same(lost, [], "random texts survive encode and decode");
  } finally {
    binding.tokenizerRelease(handle);
  }
}

for (const name of ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"]) {
  t.test(name, (t) => {
    const path = sharedPath(`tokenizer/${name}.gguf`);
    const cases = readCases(name);
    if (path === null || cases === null) {
      t.comment(`skipped: no shared tokenizer/${name}`);
      return t.end();
    }
    t.ok(cases.length >= 40, `${cases.length} cases`);
    checkVocabulary(t, path, cases);
    t.end();
  });
}

for (const name of ["smollm2-135m-instruct", "gemma-3-270m"] satisfies RealModelName[]) {
  t.test(name, async (t) => {
    const file = sharedPath(`tokenizer/${name}.cases.json`);
    const path = await modelPath(name).catch((error: unknown) => {
      t.comment(`skipped: ${String(error)}`);
      return null;
    });
    if (file === null) t.comment(`skipped: no shared tokenizer/${name}.cases.json`);
    if (file === null || path === null) return;
    checkVocabulary(t, path, JSON.parse(readFileSync(file, "utf8")) as Case[]);
  });
}
