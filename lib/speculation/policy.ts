/**
 * How many rows a step is worth. A row that verifies a node brings one more token with the node's probability, and
 * costs what the step-time curve says: rows are added, likeliest first over all requests of the step, up to the best rate
 * of tokens a millisecond. Where the batch uses the machine already, no row is worth it.
 */
import { type DraftTree, maxNodes } from "./draft-tree.js";

/** Milliseconds of a step of so many rows. */
export type StepTime = (rows: number) => number;

/** What a branch costs beside its row, in tokens: its own copy of a K/V page, 0.1 of 4 ms on SmolLM2. */
const branchCost = 0.03;
/** Rows must promise this much: the curve is wrong by some percent, and 1.01 replays no better (1.293 beside 1.291). */
const leastGain = 1.08;
/** Nodes that would pay only if a row cost nothing. */
const leastWorth = 0.02;
/** Of the tree at hand: every node's worth, and its likeliest child. */
const scratch = { worths: new Float64Array(maxNodes), likeliest: new Int32Array(maxNodes) };

export interface ChoiceOptions {
  /** Nodes at most, of all trees and of one. */
  most: number;
  mostOfTree: number;
  /** All that there is room for, whatever it is worth. */
  isForced: boolean;
  /** Sequences of the step that have no tree. Default: 0. */
  others?: number;
}

interface Candidate {
  tree: number;
  node: number;
  worth: number;
}

/**
 * The nodes of each tree that are worth their rows, in an order where parents stand before their children.
 */
export function chooseNodes(trees: readonly DraftTree[], time: StepTime, options: ChoiceOptions): number[][] {
  const { most, mostOfTree, isForced, others = 0 } = options;
  const chosen: number[][] = trees.map(() => []);
  const candidates = trees.flatMap((tree, index) => candidatesOf(tree, index, isForced).slice(0, mostOfTree));
  candidates.sort(byWorth);
  const best = isForced
    ? Math.min(most, candidates.length)
    : countWorthwhile(candidates.slice(0, most), trees.length + others, time);
  for (const { tree, node } of candidates.slice(0, best)) (chosen[tree] as number[]).push(node);
  return chosen;
}

/** How many of the candidates, the best first, are worth a row beside the `rows` that there are. */
function countWorthwhile(candidates: readonly Candidate[], rows: number, time: StepTime): number {
  let bestRate = (rows / time(rows)) * leastGain;
  let best = 0;
  let expected = rows;
  candidates.forEach(({ worth }, i) => {
    expected += worth;
    const rate = expected / time(rows + i + 1);
    if (!(rate > bestRate)) return;
    best = i + 1;
    bestRate = rate;
  });
  return best;
}

function byWorth(a: Candidate, b: Candidate): number {
  return b.worth - a.worth || a.tree - b.tree || a.node - b.node;
}

/** Whether even a certain draft would not pay beside so many rows. */
export function isHopeless(rows: number, time: StepTime): boolean {
  const rate = (rows / time(rows)) * leastGain;
  return [1, 3, 7].every((more) => (rows + more) / time(rows + more) <= rate);
}

/** Worth falls along every path, so that no node stands before its parent. Without hopeless nodes, unless all are forced. */
function candidatesOf(tree: DraftTree, index: number, isForced: boolean): Candidate[] {
  const { parents, probability, count } = tree;
  const likeliest = scratch.likeliest.fill(-1, 0, count);
  for (let node = 1; node < count; node++) {
    const parent = parents[node] as number;
    const rival = likeliest[parent] as number;
    if (rival < 0 || (probability[node] as number) > (probability[rival] as number)) likeliest[parent] = node;
  }
  const { worths } = scratch;
  worths[0] = 1;
  const candidates: Candidate[] = [];
  for (let node = 1; node < count; node++) {
    const parent = parents[node] as number;
    const cost = likeliest[parent] === node ? 0 : branchCost;
    const worth = Math.min(worths[parent] as number, (probability[node] as number) - cost);
    worths[node] = worth;
    if (isForced || worth >= leastWorth) candidates.push({ tree: index, node, worth });
  }
  return candidates.sort(byWorth);
}
