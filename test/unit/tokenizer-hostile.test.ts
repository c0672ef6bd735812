/** Text nobody would write (classes T1 to T4) and vocabularies that must be refused (G16), through the addon. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { type GgufValue, value, vocabularyOnly, withMetadata, writeGguf } from "../support/gguf-builder.js";

const folder = mkdtempSync(join(tmpdir(), "lutra-tokenizer-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function vocabularyPath(changes: Record<string, GgufValue | undefined> = {}, tokenizer: "bpe" | "spm" = "bpe"): string {
  const spec = withMetadata(vocabularyOnly({ tokenizer }), changes);
  return writeGguf(join(folder, `${files++}.gguf`), spec);
}

function withTokenizer(path: string, use: (handle: number) => void): void {
  const handle = binding.tokenizerAcquire(path);
  try {
    use(handle);
  } finally {
    binding.tokenizerRelease(handle);
  }
}

const textOf = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

for (const kind of ["bpe", "spm"] as const) {
  t.test(`${kind}: any string is taken, and what is not Unicode becomes U+FFFD`, (t) => {
    withTokenizer(vocabularyPath({}, kind), (handle) => {
      const roundTrip = (text: string): string =>
        textOf(binding.decode(handle, binding.encode(handle, text, false, false), false));
      for (const text of [
        "",
        "\0",
        "\u{10ffff}",
        "\ufeffx",
        "\u0301".repeat(100_000),
        "\ufffd",
        " ",
        "   ",
        "\n\r\n",
      ]) {
        t.equal(roundTrip(text) === text, true, JSON.stringify(text.slice(0, 8)));
      }
      t.equal(roundTrip("a\ud800b"), "a\ufffdb", "a lone surrogate");
      t.equal(roundTrip("\udc00"), "\ufffd");
    });
    t.end();
  });

  t.test(`${kind}: text that spells control tokens stays text`, (t) => {
    withTokenizer(vocabularyPath({}, kind), (handle) => {
      const { eos } = binding.vocab(handle);
      const spelled = textOf(binding.tokenBytes(handle, eos, true));
      t.ok(spelled.length > 0);
      t.equal(binding.tokenBytes(handle, eos, false).length, 0, "control tokens are no text");
      const plain = binding.encode(handle, `x${spelled}`, false, false);
      t.notOk(plain.includes(eos));
      t.equal(textOf(binding.decode(handle, plain, false)), `x${spelled}`);
      t.equal(binding.encode(handle, `x${spelled}`, false, true).at(-1), eos);
    });
    t.end();
  });

  t.test(`${kind}: bytes of the tokens, one by one, are those of the whole`, (t) => {
    withTokenizer(vocabularyPath({}, kind), (handle) => {
      const ids = binding.encode(handle, "the 🦙 and é", false, false);
      const parts = Array.from(ids, (id) => Buffer.from(binding.tokenBytes(handle, id, false)));
      const whole = Buffer.from(binding.decode(handle, ids, false)).toString();
      t.equal(Buffer.concat(parts).toString().trimStart(), whole);
      t.equal(whole, "the 🦙 and é");
    });
    t.end();
  });

  t.test(`${kind}: time grows with the text, not faster`, (t) => {
    withTokenizer(vocabularyPath({}, kind), (handle) => {
      for (const unit of ["A", "a", " ", "\n", "7", "!", "漢", "a1", "' 's 's", "🦙", "\u0301", "aA"]) {
        const seconds = [1 << 18, 1 << 19].map((size) => {
          const text = unit.repeat(size / unit.length);
          let best = Number.POSITIVE_INFINITY;
          for (let run = 0; run < 3; run++) {
            const start = process.cpuUsage();
            binding.encode(handle, text, false, false);
            const used = process.cpuUsage(start);
            best = Math.min(best, (used.user + used.system) / 1e6);
          }
          return best;
        });
        const [half, whole] = seconds as [number, number];
        t.ok(
          whole < 4 * half + 0.05 && whole < 5,
          `${JSON.stringify(unit)}: ${half.toFixed(3)} s, ${whole.toFixed(3)} s`,
        );
      }
    });
    t.end();
  });
}

t.test("vocabularies that are refused", (t) => {
  const refused: [name: string, changes: Record<string, GgufValue | undefined>, code: string, message: RegExp][] = [
    ["unknown model", { "tokenizer.ggml.model": value.string("bert") }, "TOKENIZER_UNSUPPORTED", /bert/],
    ["no model", { "tokenizer.ggml.model": undefined }, "TOKENIZER_UNSUPPORTED", /tokenizer\.ggml\.model/],
    ["unknown pre-tokenizer", { "tokenizer.ggml.pre": value.string("mystery") }, "TOKENIZER_UNSUPPORTED", /mystery/],
    ["no tokens", { "tokenizer.ggml.tokens": undefined }, "TOKENIZER_BAD_VOCAB", /tokens/],
    ["no merges", { "tokenizer.ggml.merges": undefined }, "TOKENIZER_BAD_VOCAB", /merges/],
    ["bos outside", { "tokenizer.ggml.bos_token_id": value.u32(1 << 30) }, "MODEL_BAD_METADATA", /bos_token_id/],
    ["eos of -1", { "tokenizer.ggml.eos_token_id": value.u32(0xffffffff) }, "MODEL_BAD_METADATA", /eos_token_id/],
    ["tokens of numbers", { "tokenizer.ggml.tokens": value.u32(1) }, "MODEL_BAD_METADATA", /tokens/],
  ];
  for (const [name, changes, code, message] of refused) {
    t.throws(() => binding.tokenizerAcquire(vocabularyPath(changes)), { code, message }, name);
  }
  t.equal(binding.counters().tokenizers, 0, "nothing stays behind");
  t.end();
});
