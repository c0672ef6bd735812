// Draft trees and their order as rows, on random trees.
import t from "tap";
import { DraftTree, levelOf, maxLevel, maxNodes, sources } from "../../dist/esm/speculation/draft-tree.js";
import { childRow, orderRows } from "../../dist/esm/speculation/index.js";
import { seeded } from "../support/seeded.js";

function randomTree(below: (bound: number) => number, maxDepth = 63): DraftTree {
  const tree = new DraftTree();
  tree.start(below(5), maxDepth);
  const tries = below(90);
  for (let i = 0; i < tries; i++) {
    tree.propose(below(tree.count), below(6), sources[below(sources.length)] ?? "suffix", 1 + below(maxLevel));
  }
  return tree;
}

t.test("a tree is a trie of bounded size", (t) => {
  const below = seeded(1);
  for (let i = 0; i < 300; i++) {
    const maxDepth = below(12);
    const tree = randomTree(below, maxDepth);
    t.ok(tree.count <= maxNodes);
    const seen = new Set<string>();
    for (let node = 1; node < tree.count; node++) {
      const parent = tree.parents[node] as number;
      const key = `${parent} ${tree.tokens[node]}`;
      if (parent >= node || seen.has(key)) t.fail(`node ${node} of ${parent}`);
      if (tree.depths[node] !== (tree.depths[parent] as number) + 1) t.fail(`depth of ${node}`);
      if ((tree.depths[node] as number) > maxDepth) t.fail(`${node} is too deep`);
      if (tree.find(parent, tree.tokens[node] as number) !== node) t.fail(`${node} is not found`);
      seen.add(key);
    }
  }
  t.end();
});

t.test("every drafter leaves its highest level, and no other's", (t) => {
  const below = seeded(2);
  for (let i = 0; i < 200; i++) {
    const tree = new DraftTree();
    tree.start(1, 4);
    const expected = sources.map(() => 0);
    for (let j = 0; j < 20; j++) {
      const source = below(sources.length);
      const level = 1 + below(maxLevel);
      tree.propose(0, 7, sources[source] ?? "suffix", level);
      expected[source] = Math.max(expected[source] ?? 0, level);
    }
    t.same(
      sources.map((_, source) => levelOf(tree.evidence[1] as number, source)),
      expected,
    );
  }
  t.end();
});

t.test("follow() goes as far as the tree does", (t) => {
  const tree = new DraftTree();
  tree.start(1, 8);
  const two = tree.propose(0, 2, "suffix", 1);
  const three = tree.propose(two, 3, "suffix", 1);
  t.same(tree.follow([2, 3, 4]), [two, three]);
  t.same(tree.follow([3]), []);
  t.same(tree.follow([2]), [two]);
  t.end();
});

t.test("rows: parents before children, a branch in one run, the first child in its parent's", (t) => {
  const below = seeded(3);
  for (let i = 0; i < 400; i++) {
    const tree = randomTree(below);
    const chosen: number[] = [];
    // Any part of the tree that has the parents of its nodes.
    for (let node = 1; node < tree.count; node++) {
      const parent = tree.parents[node] as number;
      if ((parent === 0 || chosen.includes(parent)) && below(3) > 0) chosen.push(node);
    }
    const rows = orderRows(tree, chosen);
    t.equal(rows.count, chosen.length + 1);
    t.same([...rows.nodes].sort(byNumber), [0, ...chosen].sort(byNumber));
    for (let row = 0; row < rows.count; row++) {
      const node = rows.nodes[row] as number;
      const parent = rows.parents[row] as number;
      if (rows.tokens[row] !== tree.tokens[node] || rows.depths[row] !== tree.depths[node]) t.fail(`row ${row}`);
      if (row === 0) continue;
      if (parent >= row || rows.nodes[parent] !== tree.parents[node]) t.fail(`parent of row ${row}`);
      if (childRow(rows, parent, rows.tokens[row] as number) !== row) t.fail(`row ${row} is not its parent's child`);
      const isFirst = !rows.parents.slice(0, row).includes(parent);
      if (isFirst !== (rows.branches[row] === rows.branches[parent])) t.fail(`branch of row ${row}`);
      if (isFirst && parent !== row - 1) t.fail(`row ${row} does not follow its parent`);
      const before = rows.branches.slice(0, row);
      if (before.includes(rows.branches[row] as number) && before.at(-1) !== rows.branches[row]) {
        t.fail(`branch ${rows.branches[row]} is not in one piece`);
      }
    }
  }
  t.end();
});

t.test("siblings keep the order in which they were chosen", (t) => {
  const tree = new DraftTree();
  tree.start(1, 8);
  const [a, b] = [tree.propose(0, 2, "suffix", 1), tree.propose(0, 3, "suffix", 1)];
  const under = tree.propose(b, 4, "suffix", 1);
  t.same(orderRows(tree, [b, a, under]).nodes, [0, b, under, a]);
  t.same(orderRows(tree, [b, a, under]).branches, [0, 0, 0, 1]);
  t.end();
});

function byNumber(a: number, b: number): number {
  return a - b;
}
