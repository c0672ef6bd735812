/**
 * How often a node comes true, by the evidence of the drafters that proposed it: counted, with less weight the longer
 * ago, over every node whose parent came true, whether it was verified or not. Evidence that is new starts from what
 * its drafters are worth alone.
 */
import { type DraftTree, levelOf, maxLevel, sources } from "./draft-tree.js";

/** Share of an entry's weight that one more observation takes away: its memory is some 250 observations long. */
const forgetting = 1 / 256;
/** Observations that the prior counts for. */
const priorWeight = 6;

/** Chance of a proposal of each level, before anything was observed (replayed on real text, see bench/speculation). */
const firstGuess: Record<(typeof sources)[number], (level: number) => number> = {
  suffix: (level) => [0.12, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85, 0.9][level - 1] ?? 0.9,
  reader: (level) => [0.12, 0.3, 0.45, 0.55, 0.65, 0.75, 0.85, 0.9][level - 1] ?? 0.9,
  recycling: (level) => [0.01, 0.02, 0.05, 0.1, 0.18, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8][level - 1] ?? 0.8,
  jacobi: (level) => 0.25 / level,
  draft: (level) => level / (maxLevel + 1),
  chaos: () => 0.01,
};

interface Entry {
  hits: number;
  weight: number;
}

export class Calibration {
  private readonly joint_ = new Map<number, Entry>();
  /** Of one drafter's level, whatever the others said: [source][level]. */
  private readonly alone_: Entry[][] = sources.map((source) =>
    Array.from({ length: maxLevel + 1 }, (_, level) => ({
      hits: level === 0 ? 0 : priorWeight * firstGuess[source](level),
      weight: priorWeight,
    })),
  );

  /** Sets the probability of every node of the tree; those of a node's children never add up to more than its own. */
  rate(tree: DraftTree): void {
    const { probability, parents, evidence } = tree;
    const total = new Float64Array(tree.count);
    for (let node = 1; node < tree.count; node++) {
      const chance = this.chance(evidence[node] as number);
      probability[node] = chance;
      total[parents[node] as number] = (total[parents[node] as number] as number) + chance;
    }
    for (let node = 1; node < tree.count; node++) {
      const parent = parents[node] as number;
      const share = Math.max(1, total[parent] as number);
      probability[node] = ((probability[node] as number) * (probability[parent] as number)) / share;
    }
  }

  /** The text went on with `tokens` after the root: every child of a node on that path was right or wrong. */
  learn(tree: DraftTree, tokens: ArrayLike<number>): void {
    let parent = 0;
    for (let i = 0; i < tokens.length && parent >= 0; i++) {
      let next = -1;
      for (let node = parent + 1; node < tree.count; node++) {
        if (tree.parents[node] !== parent) continue;
        const hit = tree.tokens[node] === tokens[i];
        this.count(tree.evidence[node] as number, hit);
        if (hit) next = node;
      }
      parent = next;
    }
  }

  private chance(evidence: number): number {
    const entry = this.joint_.get(evidence);
    const prior = this.prior(evidence);
    return entry === undefined ? prior : (entry.hits + priorWeight * prior) / (entry.weight + priorWeight);
  }

  /** As if the drafters were right independently of each other. */
  private prior(evidence: number): number {
    let wrong = 1;
    for (let source = 0; source < sources.length; source++) {
      const level = levelOf(evidence, source);
      if (level === 0) continue;
      const { hits, weight } = this.alone_[source]?.[level] as Entry;
      wrong *= 1 - hits / weight;
    }
    return 1 - wrong;
  }

  private count(evidence: number, hit: boolean): void {
    let entry = this.joint_.get(evidence);
    if (entry === undefined) {
      entry = { hits: 0, weight: 0 };
      this.joint_.set(evidence, entry);
    }
    update(entry, hit);
    for (let source = 0; source < sources.length; source++) {
      const level = levelOf(evidence, source);
      if (level > 0) update(this.alone_[source]?.[level] as Entry, hit);
    }
  }
}

function update(entry: Entry, hit: boolean): void {
  entry.hits = entry.hits * (1 - forgetting) + (hit ? 1 : 0);
  entry.weight = entry.weight * (1 - forgetting) + 1;
}
