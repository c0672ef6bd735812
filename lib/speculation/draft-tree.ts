/**
 * What might come next, as a trie: node 0 is the last token of the text, a path from there a continuation. Each drafter
 * that proposes a node leaves its evidence there; the calibration turns the evidence of all into one probability.
 */
import { limits } from "../limits.js";

/** Drafters that work with evidence, and the place of each in a node's evidence. */
export const sources = ["suffix", "recycling", "reader", "jacobi", "draft", "chaos"] as const;
export type Source = (typeof sources)[number];

/** Levels of confidence of one drafter: 1 … 31; 0 says that it did not propose the node. */
const bits = 5;
export const maxLevel = 2 ** bits - 1;
/** The root among them. */
export const maxNodes = limits.maxDraftRows;

export class DraftTree {
  count = 0;
  /** Nothing deeper is taken. */
  maxDepth = 0;
  readonly tokens = new Int32Array(maxNodes);
  /** Always before its children; -1 for the root. */
  readonly parents = new Int32Array(maxNodes);
  readonly depths = new Int32Array(maxNodes);
  /** The level of each drafter, five bits each. */
  readonly evidence = new Int32Array(maxNodes);
  /** That the text goes on along the path to this node. */
  readonly probability = new Float64Array(maxNodes);

  /** Empties it down to the root: `token`, the text's last. Nothing deeper than `maxDepth` will be taken. */
  start(token: number, maxDepth: number): void {
    this.count = 1;
    this.maxDepth = maxDepth;
    this.tokens[0] = token;
    this.parents[0] = -1;
    this.depths[0] = 0;
    this.evidence[0] = 0;
    this.probability[0] = 1;
  }

  /** The child of `parent` with this token; -1 when there is none. */
  find(parent: number, token: number): number {
    for (let node = parent + 1; node < this.count; node++) {
      if (this.parents[node] === parent && this.tokens[node] === token) return node;
    }
    return -1;
  }

  /** The nodes that `tokens` lead to from the root, as far as the tree goes. */
  follow(tokens: ArrayLike<number>): number[] {
    const path: number[] = [];
    let node = 0;
    for (let i = 0; i < tokens.length; i++) {
      node = this.find(node, tokens[i] as number);
      if (node < 0) break;
      path.push(node);
    }
    return path;
  }

  /** Adds the child, or the drafter's evidence to the one that is there. -1 when the tree is full, or deep enough. */
  propose(parent: number, token: number, source: Source, level: number): number {
    let node = this.find(parent, token);
    if (node < 0) {
      if (this.count === maxNodes || (this.depths[parent] as number) >= this.maxDepth) return -1;
      node = this.count++;
      this.tokens[node] = token;
      this.parents[node] = parent;
      this.depths[node] = (this.depths[parent] as number) + 1;
      this.evidence[node] = 0;
    }
    const index = sources.indexOf(source);
    const known = levelOf(this.evidence[node] as number, index);
    if (level > known) this.evidence[node] = (this.evidence[node] as number) + ((level - known) << (bits * index));
    return node;
  }
}

/** The level that a source gave in a node's evidence. */
export function levelOf(evidence: number, source: number): number {
  return (evidence >>> (bits * source)) & maxLevel;
}
