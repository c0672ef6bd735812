/** Stop strings and UTF-8 over streamed pieces (classes T4, R5). */
import t from "tap";
import { StopMatcher, Utf8Stream, uniform } from "../../dist/esm/sampling/index.js";

/** What the stream emits in all, for a text cut into pieces. */
function run(stops: string[], pieces: string[]): { text: string; matched: string | undefined } {
  const matcher = new StopMatcher(stops);
  let text = "";
  let stopped = false;
  for (const piece of pieces) {
    const step = matcher.push(piece);
    text += step.text;
    stopped = step.stopped;
    if (stopped) break;
  }
  if (!stopped) text += matcher.flush();
  return { text, matched: matcher.matched };
}

/** Plain definition: the stop that ends first, and of those the longest. */
function reference(stops: string[], text: string): { text: string; matched: string | undefined } {
  let end = Number.POSITIVE_INFINITY;
  let matched: string | undefined;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at === -1) continue;
    const thisEnd = at + stop.length;
    if (thisEnd < end || (thisEnd === end && stop.length > (matched as string).length))
      [end, matched] = [thisEnd, stop];
  }
  return matched === undefined ? { text, matched } : { text: text.slice(0, end - matched.length), matched };
}

const draw = (lane: number, i: number, n: number) => Math.floor(uniform(11, i, lane) * n);

function cut(text: string, i: number): string[] {
  const pieces: string[] = [];
  for (let at = 0, k = 0; at < text.length; k++) {
    const size = draw(100 + k, i, 4);
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

t.test("known cases", async (t) => {
  t.same(run(["END"], ["hello E", "N", "D more"]), { text: "hello ", matched: "END" });
  t.same(run(["END"], ["hello E", "N", "X", "EN"]), { text: "hello ENXEN", matched: undefined });
  t.same(run(["ab", "abcd"], ["xabcd"]), { text: "x", matched: "ab" }, "the shorter prefix ends first");
  t.same(run(["bc", "abc"], ["xabc"]), { text: "x", matched: "abc" }, "of two that end together, the longer");
  t.same(run(["abcd", "bc"], ["xabce"]), { text: "xa", matched: "bc" }, "an inner stop is seen through the longer one");
  t.same(run(["aab"], ["aaa", "ab"]), { text: "aa", matched: "aab" });
  t.same(run(["a", "a"], ["bab"]), { text: "b", matched: "a" }, "duplicates");
  t.same(run([], ["a", "b"]), { text: "ab", matched: undefined });
  t.same(run(["\n\n"], ["a\n", "b\n", "\nc"]), { text: "a\nb", matched: "\n\n" });
  t.same(run(["😀"], ["x😁", "😀y"]), { text: "x😁", matched: "😀" });
});

t.test("holds back only what may become a stop", async (t) => {
  const matcher = new StopMatcher(["<end>"]);
  t.same(matcher.push("abc<e"), { text: "abc", stopped: false });
  t.same(matcher.push("x"), { text: "<ex", stopped: false });
  t.same(matcher.push("<end>tail"), { text: "", stopped: true });
  t.same(matcher.push("more"), { text: "", stopped: true });
  t.equal(matcher.flush(), "");
});

t.test("equals the plain definition on random stops, texts and cuts", async (t) => {
  let matches = 0;
  for (let i = 0; i < 3_000; i++) {
    const word = (lane: number, length: number) =>
      Array.from({ length }, (_, k) => "abc"[draw(lane + k, i, 3)]).join("");
    const stops = Array.from({ length: 1 + draw(1, i, 5) }, (_, k) => word(1000 + 10 * k, 1 + draw(20 + k, i, 6)));
    const text = word(5000, draw(2, i, 40));
    const expected = reference(stops, text);
    if (expected.matched !== undefined) matches++;
    const found = run(stops, cut(text, i));
    if (found.text !== expected.text || found.matched !== expected.matched)
      t.same(found, expected, JSON.stringify({ stops, text }));
  }
  t.ok(matches > 1_000 && matches < 3_000, `${matches} of 3,000 stopped`);
});

t.test("linear in the output, however many stops share prefixes", async (t) => {
  const stops = Array.from({ length: 16 }, (_, i) => `${"a".repeat(200 + i)}b`);
  const matcher = new StopMatcher(stops);
  const start = performance.now();
  let emitted = 0;
  for (let i = 0; i < 100_000; i++) emitted += matcher.push("aaaaaaaaaa").text.length;
  emitted += matcher.flush().length;
  t.equal(emitted, 1_000_000);
  t.ok(performance.now() - start < 3_000, `${(performance.now() - start).toFixed(0)} ms for 1 M characters`);
});

t.test("Utf8Stream: pieces and end equal the decoding of the whole", async (t) => {
  const whole = (bytes: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const interesting = [
    0x41, 0x80, 0xbf, 0xc2, 0xc0, 0xe0, 0xa0, 0xed, 0xef, 0xbb, 0xf0, 0x9f, 0x98, 0x80, 0xf4, 0x90, 0xff, 0,
  ];
  const valid = new TextEncoder().encode("\ufeffaé漢😀🏳️‍🌈e\u0301\ufeff");
  for (let i = 0; i < 3_000; i++) {
    const bytes =
      i % 3 === 0
        ? valid
        : Uint8Array.from({ length: draw(3, i, 24) }, (_, k) => interesting[draw(300 + k, i, interesting.length)]!);
    const stream = new Utf8Stream();
    let text = "";
    for (let at = 0, k = 0; at < bytes.length; k++) {
      const size = 1 + draw(600 + k, i, 3);
      text += stream.push(bytes.subarray(at, at + size));
      at += size;
    }
    text += stream.flush();
    if (text !== whole(bytes)) t.equal(text, whole(bytes), `bytes ${Array.from(bytes)}`);
  }
  const stream = new Utf8Stream();
  const emoji = new TextEncoder().encode("😀");
  t.same(
    [0, 1, 2, 3].map((i) => stream.push(emoji.subarray(i, i + 1))),
    ["", "", "", "😀"],
  );
  t.equal(stream.push(emoji.subarray(0, 2)), "");
  t.equal(stream.flush(), "\ufffd");
  t.equal(stream.push(emoji), "😀", "usable after a flush");
});
