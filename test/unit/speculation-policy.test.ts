// Which drafts a step verifies: against trying every number of rows, on random trees and curves.
import t from "tap";
import { chooseNodes, DraftTree, isHopeless, orderRows } from "../../dist/esm/speculation/index.js";
import { seeded } from "../support/seeded.js";

type Below = (bound: number) => number;

/** One path, its probabilities falling. */
function chain(below: Below, length: number): DraftTree {
  const tree = new DraftTree();
  tree.start(0, 63);
  for (let node = 0; node < length; node++) {
    const child = tree.propose(node, node, "suffix", 1);
    tree.probability[child] = ((tree.probability[node] as number) * (300 + below(700))) / 1000;
  }
  return tree;
}

function randomTree(below: Below): DraftTree {
  const tree = new DraftTree();
  tree.start(0, 63);
  const left = new Float64Array(64).fill(1);
  for (let i = 0; i < 50; i++) {
    const parent = below(tree.count);
    const count = tree.count;
    const node = tree.propose(parent, i, "suffix", 1);
    if (tree.count === count) continue;
    const share = ((left[parent] as number) * below(1000)) / 1000;
    left[parent] = (left[parent] as number) - share;
    tree.probability[node] = (tree.probability[parent] as number) * share;
  }
  return tree;
}

/** Times that never fall as rows grow. */
function randomCurve(below: Below): (rows: number) => number {
  const times = [1];
  for (let i = 1; i < 80; i++) times.push((times[i - 1] as number) + (below(3) === 0 ? 0 : below(400) / 1000));
  return (rows) => times[Math.min(rows, times.length) - 1] as number;
}

t.test("chains of several requests: no other numbers of rows have a better rate", (t) => {
  const below = seeded(1);
  for (let i = 0; i < 200; i++) {
    const trees = Array.from({ length: 1 + below(2) }, () => chain(below, 1 + below(7)));
    const time = randomCurve(below);
    const options = { most: 1 + below(12), mostOfTree: 15, isForced: false };
    const chosen = chooseNodes(trees, time, options);
    const rateOf = (counts: readonly number[]): number => {
      const rows = counts.reduce((sum, count) => sum + count, trees.length);
      let expected = trees.length;
      counts.forEach((count, tree) => {
        for (let node = 1; node <= count; node++) expected += trees[tree]?.probability[node] as number;
      });
      return expected / time(rows);
    };
    let best = 0;
    for (let a = 0; a < (trees[0] as DraftTree).count; a++) {
      for (let b = 0; b < (trees[1]?.count ?? 1); b++) {
        if (a + b <= options.most) best = Math.max(best, rateOf(trees.length === 1 ? [a] : [a, b]));
      }
    }
    const rate = rateOf(chosen.map(({ length }) => length));
    // Not drafting is as good as drafting that gains next to nothing.
    t.ok(rate >= best / 1.0801, `${rate} of ${best}`);
  }
  t.end();
});

t.test("never more rows than there is room for; parents are chosen before their children", (t) => {
  const below = seeded(2);
  for (let i = 0; i < 300; i++) {
    const trees = Array.from({ length: 1 + below(4) }, () => randomTree(below));
    const options = { most: below(20), mostOfTree: below(12), isForced: below(2) === 0 };
    const chosen = chooseNodes(trees, randomCurve(below), options);
    t.ok(chosen.reduce((sum, { length }) => sum + length, 0) <= options.most);
    chosen.forEach((nodes, index) => {
      const tree = trees[index] as DraftTree;
      t.ok(nodes.length <= options.mostOfTree);
      nodes.forEach((node, at) => {
        const parent = tree.parents[node] as number;
        if (parent !== 0 && !nodes.slice(0, at).includes(parent)) t.fail(`node ${node} before its parent`);
      });
      t.equal(orderRows(tree, nodes).count, nodes.length + 1);
    });
  }
  t.end();
});

t.test("forced: all that there is room for, on any curve", (t) => {
  const below = seeded(3);
  for (let i = 0; i < 100; i++) {
    const tree = randomTree(below);
    const most = 1 + below(60);
    const [nodes] = chooseNodes([tree], (rows) => rows ** 3, { most, mostOfTree: most, isForced: true });
    t.equal(nodes?.length, Math.min(most, tree.count - 1));
  }
  t.end();
});

t.test("the likelier tree gets the rows", (t) => {
  const [good, bad] = [chain(() => 690, 6), chain(() => 0, 6)];
  const time = (rows: number): number => 1 + 0.2 * (rows - 2);
  const [rows, none] = chooseNodes([good, bad], time, { most: 4, mostOfTree: 15, isForced: false });
  t.same(rows, [1, 2, 3, 4]);
  t.same(none, []);
  t.end();
});

t.test("a machine whose steps take as long as their rows drafts nothing; one with idle rows always may", (t) => {
  t.equal(
    isHopeless(1, (rows) => rows),
    true,
  );
  t.equal(
    isHopeless(1, (rows) => 1 + 0.2 * (rows - 1)),
    false,
  );
  t.equal(
    isHopeless(8, (rows) => Math.max(2, rows / 4)),
    true,
  );
  const [nodes] = chooseNodes([chain(() => 699, 6)], (rows) => rows, { most: 9, mostOfTree: 9, isForced: false });
  t.same(nodes, []);
  t.end();
});
