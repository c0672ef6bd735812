/**
 * How often a node comes true, by the evidence of the drafters that proposed it. Every node whose parent came true counts,
 * whether it was verified or not.
 *
 * Two learners serve all requests: a weight for each drafter's level, all weights of a node added up as log-odds (so that
 * evidence never seen together is judged by its parts), and above it a table of hits by the whole evidence, which forgets
 * slowly. A third is the request's own: the log-odds by which its drafts come true more often than others' do.
 */
import { type DraftTree, levelOf, maxLevel, maxNodes, type Source, sources } from "./draft-tree.js";

/** Share of an entry's weight that one more observation takes away: its memory is some 500 observations long. */
const forgetting = 1 / 512;
/** Observations that the sum of the weights counts for. */
const priorWeight = 8;
const learningRate = 0.02;
/** A request is trusted less until it has shown what its drafts are worth: a short answer has no time to make up a loss. */
export const firstBias = -0.2;
const biasRate = 0.1;
/** Nodes that teach the bias; the many that hardly ever come true would drown the others. */
const leastTaught = 0.2;
/** Log-odds of a node of which nothing is known: a drafter's weight is what it says beyond that. */
const base = -2.2;
/** Entries of the table, a power of two. Evidence that meets a taken one takes its place. */
const entries = 4096;

/** Chances of a level alone before anything was observed: what replay learnt from real text (bench/speculation). */
const matched = [0.07, 0.27, 0.43, 0.52, 0.71, 0.81, 0.89, 0.93];
const matchedAlone = [0.28, 0.46, 0.51, 0.59, 0.73, 0.82, 0.89, 0.94];
const recycled = [0.01, 0.02, 0.04, 0.06, 0.07, 0.09, 0.09, 0.12, 0.12, 0.13, 0.13];
const recycledPair = [0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.14, 0.19, 0.22, 0.24, 0.34];
const firstGuess: Record<Source, (level: number) => number> = {
  // Against other occurrences; without any; with them.
  suffix: (level) => [...matched, ...matchedAlone, ...matchedAlone][level - 1] ?? 0.5,
  // After a match in the text, or in another request's.
  reader: (level) => [...matched, ...matched][level - 1] ?? 0.5,
  recycling: (level) => [...recycled, ...recycledPair][level - 1] ?? 0.5,
  jacobi: (level) => 0.25 / level,
  draft: (level) => level / (maxLevel + 1),
  chaos: () => 0.01,
};

export class Calibration {
  /** Log-odds that a drafter's level adds: [source][level]. */
  private readonly weights_ = Float64Array.from({ length: sources.length * (maxLevel + 1) }, (_, i) => {
    const level = i % (maxLevel + 1);
    const source = sources[Math.floor(i / (maxLevel + 1))] as Source;
    return level === 0 ? 0 : logOdds(firstGuess[source](level)) - base;
  });
  /** The table: an entry's evidence, -1 for none, its hits and its observations. */
  private readonly evidence_ = new Int32Array(entries).fill(-1);
  private readonly hits_ = new Float64Array(entries);
  private readonly counts_ = new Float64Array(entries);
  /** Of a node's children: the chances together, and the likeliest. */
  private readonly sums_ = new Float64Array(maxNodes);
  private readonly likeliest_ = new Int32Array(maxNodes);

  /**
   * Sets the probability of every node of the tree. Those of a node's children never add up to more than its own: the
   * likeliest keeps what it has, the others share the rest.
   */
  rate(tree: DraftTree, bias: number): void {
    const { probability, parents, evidence, count } = tree;
    const sums = this.sums_.fill(0, 0, count);
    const likeliest = this.likeliest_.fill(0, 0, count);
    for (let node = 1; node < count; node++) {
      const parent = parents[node] as number;
      const chance = biased(this.chance(evidence[node] as number), bias);
      probability[node] = chance;
      sums[parent] = (sums[parent] as number) + chance;
      const rival = likeliest[parent] as number;
      if (rival === 0 || chance > (probability[rival] as number)) likeliest[parent] = node;
    }
    this.share(tree);
    for (let node = 1; node < count; node++) {
      probability[node] = (probability[node] as number) * (probability[parents[node] as number] as number);
    }
  }

  private share({ probability, parents, count }: DraftTree): void {
    for (let node = 1; node < count; node++) {
      const parent = parents[node] as number;
      const first = this.likeliest_[parent] as number;
      if (node === first) continue;
      // The likeliest may come after its siblings: its chance is untouched all the same.
      const best = probability[first] as number;
      const others = (this.sums_[parent] as number) - best;
      probability[node] = (probability[node] as number) * Math.min(1, (1 - best) / others);
    }
  }

  /**
   * The text went on with `tokens` after the root: every child of a node on that path was right or wrong. Returns the
   * request's new bias.
   */
  learn(tree: DraftTree, tokens: ArrayLike<number>, bias: number): number {
    let newBias = bias;
    let parent = 0;
    for (let i = 0; i < tokens.length && parent >= 0; i++) {
      let next = -1;
      for (let node = parent + 1; node < tree.count; node++) {
        if (tree.parents[node] !== parent) continue;
        const evidence = tree.evidence[node] as number;
        const hit = tree.tokens[node] === tokens[i] ? 1 : 0;
        const chance = biased(this.chance(evidence), newBias);
        if (chance > leastTaught) newBias += biasRate * (hit - chance);
        this.count(evidence, hit);
        if (hit === 1) next = node;
      }
      parent = next;
    }
    return newBias;
  }

  private chance(evidence: number): number {
    const sum = this.addWeights(evidence);
    const entry = entryOf(evidence);
    if (this.evidence_[entry] !== evidence) return sum;
    return ((this.hits_[entry] as number) + priorWeight * sum) / ((this.counts_[entry] as number) + priorWeight);
  }

  private addWeights(evidence: number): number {
    let sum = base;
    for (let source = 0; source < sources.length; source++) {
      sum += this.weights_[source * (maxLevel + 1) + levelOf(evidence, source)] as number;
    }
    return 1 / (1 + Math.exp(-sum));
  }

  private count(evidence: number, hit: number): void {
    const step = learningRate * (hit - this.addWeights(evidence));
    for (let source = 0; source < sources.length; source++) {
      const level = levelOf(evidence, source);
      const at = source * (maxLevel + 1) + level;
      if (level > 0) this.weights_[at] = (this.weights_[at] as number) + step;
    }
    const entry = entryOf(evidence);
    if (this.evidence_[entry] !== evidence) {
      this.evidence_[entry] = evidence;
      this.hits_[entry] = 0;
      this.counts_[entry] = 0;
    }
    this.hits_[entry] = (this.hits_[entry] as number) * (1 - forgetting) + hit;
    this.counts_[entry] = (this.counts_[entry] as number) * (1 - forgetting) + 1;
  }
}

/** The chance with so much added to its log-odds. */
function biased(chance: number, bias: number): number {
  return chance / (chance + (1 - chance) * Math.exp(-bias));
}

function entryOf(evidence: number): number {
  const hash = Math.imul(evidence, 0x9e3779b1);
  return (hash ^ (hash >>> 15)) & (entries - 1);
}

function logOdds(chance: number): number {
  return Math.log(chance / (1 - chance));
}
