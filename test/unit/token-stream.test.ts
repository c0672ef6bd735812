// T4: on real vocabularies, text streamed token by token equals the decoding of the whole, also for characters that are several
// byte tokens; a stop string is found wherever the tokens' borders fall in it, and no part of it is ever emitted.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { StopMatcher, Utf8Stream } from "../../dist/esm/sampling/index.js";
import { sharedPath } from "../support/shared-data.js";

const folder = sharedPath("tokenizer");
const names = folder === null ? [] : readdirSync(folder).filter((name) => name.endsWith(".gguf"));

const text = "Hello world, naïve café — 世界 🦦🦦 family: 👨‍👩‍👧 flag: 🏳️‍🌈 end.\n\tᚠᛇᚻ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u{10ffff} done";

function stream(tokenizer: number, ids: Int32Array, stops: string[]): { parts: string[]; stopped: boolean } {
  const utf8 = new Utf8Stream();
  const matcher = new StopMatcher(stops);
  const parts: string[] = [];
  for (const id of ids) {
    const { text: part, stopped } = matcher.push(utf8.push(binding.tokenBytes(tokenizer, id, false)));
    parts.push(part);
    if (stopped) return { parts, stopped };
  }
  const last = matcher.push(utf8.flush());
  parts.push(last.text, matcher.flush());
  return { parts, stopped: last.stopped };
}

for (const name of names) {
  t.test(name, (t) => {
    const tokenizer = binding.tokenizerAcquire(join(folder as string, name));
    const ids = binding.encode(tokenizer, text, false, false);
    const decoded = new TextDecoder("utf-8", { ignoreBOM: true }).decode(binding.decode(tokenizer, ids, false));
    t.equal(decoded, text);
    const { parts } = stream(tokenizer, ids, []);
    const whole = parts.join("");
    // SentencePiece puts a space before a text's first word; decoding a whole text takes it off, a continuation keeps it.
    t.ok(whole === text || whole === ` ${text}`, whole);
    t.ok(parts.includes(""), "some token ends inside a character, and nothing was emitted for it");
    t.notOk(
      parts.some((part) => part.includes("\ufffd")),
      "no half of a character was emitted",
    );
    // Every piece of the text is a stop once, so its borders fall everywhere within tokens.
    const characters = Array.from(text);
    for (let from = 0; from + 5 <= characters.length; from++) {
      const stop = characters.slice(from, from + 5).join("");
      const found = stream(tokenizer, ids, [stop, "never there"]);
      if (!found.stopped || found.parts.join("") !== whole.slice(0, whole.indexOf(stop))) {
        t.fail(`${JSON.stringify(stop)}: ${JSON.stringify(found.parts.join(""))}`);
      }
    }
    binding.tokenizerRelease(tokenizer);
    t.end();
  });
}
if (names.length === 0) t.pass("skipped: the shared tokenizers are absent");
