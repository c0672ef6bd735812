// Probabilities of drafts: that they add up, and that they become what is true.
import t from "tap";
import { Calibration } from "../../dist/esm/speculation/calibration.js";
import { DraftTree, maxLevel, sources } from "../../dist/esm/speculation/draft-tree.js";
import { seeded } from "../support/seeded.js";

t.test("the children of a node are never likelier together than it is", (t) => {
  const below = seeded(1);
  const calibration = new Calibration();
  const tree = new DraftTree();
  for (let i = 0; i < 400; i++) {
    tree.start(1, 10);
    for (let j = 0; j < 60; j++) {
      tree.propose(below(tree.count), below(9), sources[below(sources.length)] ?? "suffix", 1 + below(maxLevel));
    }
    calibration.rate(tree, 0);
    const sums = new Float64Array(tree.count);
    for (let node = 1; node < tree.count; node++) {
      const parent = tree.parents[node] as number;
      const probability = tree.probability[node] as number;
      if (!(probability >= 0 && probability <= 1)) t.fail(`probability ${probability}`);
      sums[parent] = (sums[parent] as number) + probability;
    }
    for (let node = 0; node < tree.count; node++) {
      if ((sums[node] as number) > (tree.probability[node] as number) + 1e-9) t.fail(`children of ${node}`);
    }
    calibration.learn(tree, [below(9), below(9), below(9)], 0);
  }
  t.end();
});

t.test("it learns how often evidence comes true, and evidence of two drafters apart from that of one", (t) => {
  const below = seeded(2);
  const calibration = new Calibration();
  const tree = new DraftTree();
  /** Tokens 1 (one drafter), 2 (another) and 3 (both) come true so often. */
  const percent = [0, 8, 35, 50];
  const draft = (): void => {
    tree.start(0, 1);
    tree.propose(0, 1, "suffix", 3);
    tree.propose(0, 2, "recycling", 3);
    tree.propose(0, 3, "suffix", 3);
    tree.propose(0, 3, "recycling", 3);
    calibration.rate(tree, 0);
  };
  for (let i = 0; i < 3000; i++) {
    draft();
    const drawn = below(100);
    calibration.learn(tree, [drawn < 8 ? 1 : drawn < 43 ? 2 : drawn < 93 ? 3 : 4], 0);
  }
  draft();
  for (let node = 1; node <= 3; node++) {
    const probability = tree.probability[node] as number;
    t.ok(Math.abs(probability - (percent[node] as number) / 100) < 0.07, `${probability} for ${percent[node]} %`);
  }
  t.end();
});

t.test("it forgets: what changes is learnt again", (t) => {
  const calibration = new Calibration();
  const tree = new DraftTree();
  const rate = (): number => {
    tree.start(0, 1);
    tree.propose(0, 1, "suffix", 2);
    calibration.rate(tree, 0);
    return tree.probability[1] as number;
  };
  for (let i = 0; i < 2500; i++) {
    rate();
    calibration.learn(tree, [1], 0);
  }
  t.ok(rate() > 0.95);
  for (let i = 0; i < 2500; i++) {
    rate();
    calibration.learn(tree, [2], 0);
  }
  t.ok(rate() < 0.1);
  t.end();
});

t.test("a request whose drafts come true more often than others' gets a higher bias, and likelier nodes", (t) => {
  const calibration = new Calibration();
  const tree = new DraftTree();
  const rate = (bias: number): number => {
    tree.start(0, 1);
    tree.propose(0, 1, "suffix", 4);
    calibration.rate(tree, bias);
    return tree.probability[1] as number;
  };
  let [lucky, unlucky] = [0, 0];
  for (let i = 0; i < 200; i++) {
    rate(lucky);
    lucky = calibration.learn(tree, [1], lucky);
    rate(unlucky);
    unlucky = calibration.learn(tree, [2], unlucky);
  }
  t.ok(rate(lucky) > rate(0) + 0.2);
  t.ok(rate(unlucky) < rate(0) - 0.2);
  t.end();
});

t.test("only nodes whose parent came true count", (t) => {
  const [all, first] = [new Calibration(), new Calibration()];
  const tree = new DraftTree();
  const probe = (calibration: Calibration): number => {
    tree.start(0, 2);
    tree.propose(0, 1, "reader", 4);
    calibration.rate(tree, 0);
    return tree.probability[1] as number;
  };
  for (let i = 0; i < 200; i++) {
    tree.start(0, 2);
    const node = tree.propose(0, 1, "suffix", 2);
    tree.propose(node, 5, "reader", 4);
    all.rate(tree, 0);
    // The path was left at its first node: nobody knows whether 5 would have come after it.
    all.learn(tree, [9, 5], 0);
  }
  t.equal(probe(all), probe(first));
  t.end();
});
