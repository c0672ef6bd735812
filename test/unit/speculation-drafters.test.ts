// What each drafter proposes after a text, and what one request does with them.
import t from "tap";
import { type DraftTree, levelOf, type Source, sources } from "../../dist/esm/speculation/draft-tree.js";
import { type Likeliest, RequestDrafts, SharedDrafts } from "../../dist/esm/speculation/index.js";
import { seeded } from "../support/seeded.js";

const vocabSize = 100;

/** Tokens with their probabilities, as a step's row reports them. */
function likeliest(...pairs: [token: number, probability: number][]): Likeliest {
  return {
    ids: Int32Array.from([99, ...pairs.map(([token]) => token)]),
    logits: Float32Array.from([99, ...pairs.map(([, probability]) => 3 + Math.log(probability))]),
    offset: 1,
    count: pairs.length,
    logSumExp: 3,
  };
}

function request(drafters: Source[], prompt: number[], shared = new SharedDrafts(vocabSize, drafters)): RequestDrafts {
  return new RequestDrafts(shared, prompt);
}

/** The paths of the tree's leaves. */
function pathsOf(tree: DraftTree): string[] {
  const paths = [""];
  const parents = new Set<number>();
  for (let node = 1; node < tree.count; node++) {
    const parent = tree.parents[node] as number;
    parents.add(parent);
    paths.push(`${paths[parent]} ${tree.tokens[node]}`.trim());
  }
  return paths.filter((_, node) => node > 0 && !parents.has(node));
}

function level(tree: DraftTree, node: number, source: Source): number {
  return levelOf(tree.evidence[node] as number, sources.indexOf(source));
}

t.test("suffix goes on as the text did after its end", (t) => {
  const drafts = request(["suffix"], [1, 2, 3, 4, 5, 1, 2, 3]);
  drafts.propose(3);
  t.same(pathsOf(drafts.tree), ["4 5 1"]);
  drafts.propose(10);
  t.same(pathsOf(drafts.tree), ["4 5 1 2 3"]);
  t.end();
});

t.test("suffix: a longer match comes first, a shorter one that went on otherwise is a branch", (t) => {
  const drafts = request(["suffix"], [1, 2, 3, 4, 9, 2, 3, 5, 9, 1, 2, 3]);
  drafts.propose(2);
  const paths = pathsOf(drafts.tree);
  t.equal(paths[0], "4 9");
  t.ok(paths.some((path) => path.startsWith("5")));
  t.ok(
    (drafts.tree.probability[1] as number) > (drafts.tree.probability[drafts.tree.find(0, 5)] as number),
    "and is likelier",
  );
  t.end();
});

t.test("recycling proposes what was likely after the token, likeliest first, of any request", (t) => {
  const shared = new SharedDrafts(vocabSize, ["recycling"]);
  const first = request([], [1, 2], shared);
  first.observe(2, likeliest([7, 0.8], [8, 0.1]), 0);
  first.accept([], [7]);
  first.observe(7, likeliest([3, 0.9], [4, 0.01]), 0);
  const second = request([], [5, 2], shared);
  second.propose(5);
  const { tree } = second;
  t.same(pathsOf(tree).sort(), ["7 3", "8"]);
  t.ok(level(tree, tree.find(0, 7), "recycling") > level(tree, tree.find(0, 8), "recycling"));
  t.end();
});

t.test("recycling knows two tokens better than one", (t) => {
  const shared = new SharedDrafts(vocabSize, ["recycling"]);
  const first = request([], [1, 2], shared);
  first.observe(2, likeliest([7, 0.97]), 0);
  first.accept([], [7]);
  const after = (before: number): number => {
    const second = request([], [before, 2], shared);
    second.propose(1);
    return level(second.tree, second.tree.find(0, 7), "recycling");
  };
  t.ok(after(1) > after(6));
  t.end();
});

t.test("recycling learns the pairs of rejected rows, from their places in the tree", (t) => {
  const shared = new SharedDrafts(vocabSize, ["recycling"]);
  const first = request([], [1, 2], shared);
  // Rows in depth-first order: 2 → 3 → 4, and 2 → 5.
  first.observe(2, likeliest([9, 0.9]), 0);
  first.observe(3, likeliest([9, 0.9]), 1);
  first.observe(4, likeliest([9, 0.9]), 2);
  first.observe(5, likeliest([9, 0.9]), 1);
  for (const [before, token] of [
    [1, 2],
    [2, 3],
    [3, 4],
    [2, 5],
  ] as const) {
    t.ok(shared.recycling.findPair(before, token) >= 0, `${before} ${token}`);
  }
  t.equal(shared.recycling.findPair(4, 5), -1);
  t.equal(shared.recycling.findPair(3, 5), -1);
  t.end();
});

t.test("jacobi proposes the guesses of rejected rows where they were made", (t) => {
  const drafts = request(["jacobi", "suffix"], [1, 2]);
  drafts.observe(2, likeliest([3, 1]), 0);
  drafts.observe(50, likeliest([4, 1]), 1);
  drafts.observe(51, likeliest([5, 1]), 2);
  // Row 50 was wrong: 3 came, and the rows after it guessed at the places behind.
  drafts.accept([], [3]);
  drafts.propose(9);
  t.same(pathsOf(drafts.tree), ["4 5"]);
  t.end();
});

t.test("jacobi alone guesses at every place, and all are verified", (t) => {
  const shared = new SharedDrafts(vocabSize, ["jacobi"]);
  t.equal(shared.isForced, true);
  const drafts = request([], [1, 2], shared);
  drafts.observe(2, likeliest([3, 1]), 0);
  drafts.accept([], [3]);
  drafts.propose(4);
  t.same(pathsOf(drafts.tree), ["3 3 3 3"]);
  t.end();
});

t.test("reader goes on after the leaves of the others", (t) => {
  const shared = new SharedDrafts(vocabSize, ["recycling", "reader"]);
  const drafts = request([], [4, 5, 6, 7, 8, 4], shared);
  drafts.observe(4, likeliest([5, 0.9]), 0);
  drafts.propose(4);
  t.same(pathsOf(drafts.tree), ["5 6 7 8"]);
  t.equal(level(drafts.tree, 1, "reader"), 0);
  t.ok(level(drafts.tree, 2, "reader") > 0);
  t.end();
});

t.test("reader alone goes on after the text itself, where two tokens of it occurred before", (t) => {
  const drafts = request(["reader"], [4, 5, 6, 7, 9, 4, 5]);
  drafts.propose(3);
  t.same(pathsOf(drafts.tree), ["6 7 9"]);
  const unknown = request(["reader"], [4, 5, 6, 7, 9, 5]);
  unknown.propose(3);
  t.same(pathsOf(unknown.tree), []);
  t.end();
});

t.test("reader goes on as the text of an earlier request did, where texts are shared", (t) => {
  for (const sharesTexts of [true, false]) {
    const shared = new SharedDrafts(vocabSize, ["suffix", "reader"], sharesTexts);
    const first = request([], [4, 5, 6, 7, 8], shared);
    first.accept([], [9]);
    first.end();
    request([], [3, 3], shared).end();
    const drafts = request([], [1, 4, 5], shared);
    t.equal(drafts.mayDraft(), sharesTexts);
    drafts.propose(9);
    // Two tokens match, so two are believed; the next text is never read on into.
    t.same(pathsOf(drafts.tree), sharesTexts ? ["6 7"] : []);
    drafts.accept([], [6, 7, 8]);
    drafts.propose(9);
    t.same(pathsOf(drafts.tree), sharesTexts ? ["9"] : []);
  }
  t.end();
});

t.test("a longer match in the request's own text goes before another's", (t) => {
  const shared = new SharedDrafts(vocabSize, ["reader"], true);
  request([], [4, 5, 6, 7], shared).end();
  const drafts = request([], [3, 4, 5, 8, 1, 3, 4, 5], shared);
  drafts.propose(2);
  t.same(pathsOf(drafts.tree), ["8 1"]);
  t.end();
});

t.test("shared texts are forgotten when there is no room, and places in them too", (t) => {
  const shared = new SharedDrafts(vocabSize, ["reader"], true);
  request([], [4, 5, 6, 7], shared).end();
  const drafts = request([], [4, 5], shared);
  const below = seeded(5);
  // 2^18 tokens are kept: the second text of 2^17 is one too many.
  for (let i = 0; i < 2; i++)
    request(
      [],
      Array.from({ length: 1 << 17 }, () => 10 + below(9)),
      shared,
    ).end();
  drafts.accept([], [6]);
  drafts.propose(4);
  t.same(pathsOf(drafts.tree), [], "the first is gone");
  request([], [1, 2, 3, 8, 9], shared).end();
  drafts.accept([], [1, 2]);
  drafts.propose(4);
  t.same(pathsOf(drafts.tree), ["3 8"], "a later one is read");
  t.end();
});

t.test("chaos is the same for the same text, of any shape, and all is verified", (t) => {
  const shapes = new Set<string>();
  const draw = (): string[] => {
    const shared = new SharedDrafts(vocabSize, ["chaos"]);
    t.equal(shared.isForced, true);
    const drafts = request([], [1, 2, 3], shared);
    return Array.from({ length: 50 }, () => {
      drafts.propose(20);
      const shape = pathsOf(drafts.tree).join(",");
      shapes.add(shape);
      drafts.accept([], [4]);
      return shape;
    });
  };
  t.same(draw(), draw());
  t.ok(shapes.size > 40);
  t.end();
});

t.test("statistics: steps, widths, and credit for every drafter that proposed a node", (t) => {
  const shared = new SharedDrafts(vocabSize, ["suffix", "recycling"]);
  const drafts = request([], [1, 2, 3, 1, 2], shared);
  drafts.observe(2, likeliest([3, 0.9], [9, 0.05]), 0);
  drafts.accept([], [3]);
  drafts.propose(2);
  const path = drafts.tree.follow([1, 2]);
  t.equal(path.length, 2);
  drafts.accept(path, [1, 7]);
  const expectedWidths: number[] = [];
  expectedWidths[1] = 1;
  expectedWidths[3] = 1;
  t.same(drafts.stats, {
    steps: 2,
    drafted: 2,
    accepted: 1,
    perDrafter: { suffix: { drafted: 2, accepted: 1 }, recycling: { drafted: 0, accepted: 0 } },
    widths: expectedWidths,
  });
  t.end();
});

t.test("random texts: the tree always begins at the last token, and the same steps give the same trees", (t) => {
  const run = (): string[] => {
    const below = seeded(5);
    const shared = new SharedDrafts(20, ["suffix", "recycling", "reader", "jacobi"]);
    const seen: string[] = [];
    for (let each = 0; each < 5; each++) {
      let last = below(20);
      const drafts = new RequestDrafts(shared, [below(20), last]);
      for (let step = 0; step < 200; step++) {
        drafts.propose(20);
        t.equal(drafts.tree.tokens[0], last);
        seen.push(Array.from(drafts.tree.probability.subarray(0, drafts.tree.count), String).join());
        drafts.observe(last, likeliest([below(20), 0.6], [below(20), 0.2]), 0);
        last = below(20);
        drafts.accept([], [last]);
      }
    }
    return seen;
  };
  t.same(run(), run());
  t.end();
});
