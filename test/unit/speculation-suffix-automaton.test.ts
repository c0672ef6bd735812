// The suffix automaton against a search through the whole text, on random texts of few different tokens.
import t from "tap";
import { EdgeTable } from "../../dist/esm/speculation/edge-table.js";
import { SuffixAutomaton } from "../../dist/esm/speculation/suffix-automaton.js";
import { seeded } from "../support/seeded.js";

/** Long enough for the arrays of states and edges to grow. */
const textLength = 900;

/** Ends (index after the last token) of the occurrences of `part` in `text`. */
function findEnds(text: readonly number[], part: readonly number[]): number[] {
  const ends: number[] = [];
  for (let end = part.length; end <= text.length; end++) {
    if (part.every((token, i) => text[end - part.length + i] === token)) ends.push(end);
  }
  return ends;
}

/** Length of the longest end of `whole` that occurs in `text` and ends there before `before`. */
function longestEnd(whole: readonly number[], text: readonly number[], before: number): number {
  let longest = 0;
  for (let end = 1; end < before; end++) {
    let length = 0;
    while (length < end && text[end - 1 - length] === whole[whole.length - 1 - length]) length++;
    longest = Math.max(longest, length);
  }
  return longest;
}

for (const alphabet of [2, 3, 7, 40]) {
  t.test(`repeated ends of texts of ${alphabet} tokens`, (t) => {
    const below = seeded(alphabet);
    const automaton = new SuffixAutomaton();
    const text: number[] = [];
    let wrong = 0;
    let matches = 0;
    for (let i = 0; i < textLength; i++) {
      // Copies of what was there make long matches.
      const copied = text.length > 20 && below(4) > 0 ? text[text.length - 13] : undefined;
      const token = copied ?? below(alphabet);
      text.push(token);
      automaton.push(token);
      if (i > 40 && below(4) > 0) continue;
      let previous = Infinity;
      let longest = 0;
      automaton.visitMatches((length, next) => {
        longest = Math.max(longest, length);
        const ends = findEnds(text, text.slice(text.length - length)).filter((end) => end < text.length);
        if (length >= previous || ends.at(-1) !== next) wrong++;
        previous = length;
        return ++matches % 8 !== 0;
      });
      if (longest !== longestEnd(text, text, text.length)) wrong++;
    }
    t.equal(automaton.size, textLength);
    t.equal(wrong, 0);
    t.ok(matches > 100);
    t.end();
  });

  t.test(`ends of texts of ${alphabet} tokens with a path after them`, (t) => {
    const below = seeded(100 + alphabet);
    const automaton = new SuffixAutomaton();
    const text: number[] = [];
    let wrong = 0;
    for (let i = 0; i < textLength; i++) {
      const token = text.length > 20 && below(4) > 0 ? (text[text.length - 17] as number) : below(alphabet);
      text.push(token);
      automaton.push(token);
      if (i % 9 !== 0) continue;
      // A token more than there are: it occurs nowhere.
      const path = Array.from({ length: 1 + below(5) }, () => below(alphabet + 1));
      const whole = [...text, ...path];
      const place = automaton.repeatedEnd;
      for (const each of path) automaton.advance(place, each);
      const { length } = place;
      const next = automaton.after(place);
      const expected = longestEnd(whole, text, text.length + 1);
      if (length !== expected) wrong++;
      const found = text.slice(next - length, next);
      if (!found.every((token, j) => token === whole[whole.length - length + j])) wrong++;
    }
    t.equal(wrong, 0);
    t.end();
  });

  t.test(`a place in a text of ${alphabet} tokens that grows while another is read`, (t) => {
    const below = seeded(200 + alphabet);
    const automaton = new SuffixAutomaton();
    const text: number[] = [];
    const other: number[] = [];
    const place = { state: 0, length: 0 };
    let [wrong, longest] = [0, 0];
    for (let i = 0; i < 20 * textLength; i++) {
      // In bursts: a place that has stood for long is where its state has been split since.
      for (let count = below(30) > 0 ? 0 : below(60); count > 0; count--) {
        text.push(below(4) > 0 ? (other.at(-5) ?? 0) : below(alphabet));
        automaton.push(text.at(-1)!);
      }
      other.push(below(4) > 0 ? (text.at(-9) ?? 0) : below(alphabet));
      automaton.advance(place, other.at(-1)!);
      const next = automaton.after(place);
      if (place.length > 0 && text.slice(next - place.length, next).join() !== other.slice(-place.length).join())
        wrong++;
      longest = Math.max(longest, place.length);
    }
    t.equal(wrong, 0, "what it stands for is there");
    t.ok(longest > 3, `${longest} tokens at most`);
    t.end();
  });
}

t.test("a text of one token again and again matches itself", (t) => {
  const automaton = new SuffixAutomaton();
  for (let i = 0; i < 3000; i++) automaton.push(5);
  let first: [number, number] | undefined;
  automaton.visitMatches((length, next) => {
    first = [length, next];
    return false;
  });
  t.same(first, [2999, 2999]);
  t.end();
});

t.test("an empty text has no matches", (t) => {
  const automaton = new SuffixAutomaton();
  automaton.visitMatches(() => t.fail("no match was there"));
  const place = automaton.repeatedEnd;
  automaton.advance(place, 3);
  t.same(place, { state: 0, length: 0 });
  t.end();
});

t.test("the edge table holds what a map holds", (t) => {
  const below = seeded(7);
  const table = new EdgeTable();
  const known = new Map<string, number>();
  for (let i = 0; i < 20_000; i++) {
    const [state, token, target] = [below(900), below(60), below(1e6)];
    if (below(3) > 0) {
      table.set(state, token, target);
      known.set(`${state} ${token}`, target);
    } else if (table.get(state, token) !== (known.get(`${state} ${token}`) ?? -1)) {
      t.fail(`edge ${state} ${token}`);
    }
  }
  table.copy(3, 1000);
  for (let token = 0; token < 60; token++) t.equal(table.get(1000, token), known.get(`3 ${token}`) ?? -1);
  t.end();
});
