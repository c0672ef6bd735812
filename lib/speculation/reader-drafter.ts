/**
 * READER (arXiv 2508.09072): grafts what the text itself says after a similar passage onto every leaf of the base tree.
 * Here the passage is the text's last tokens with the leaf's path at their end.
 */
import { type DraftTree, maxNodes } from "./draft-tree.js";
import { type Drafter, matchLevel } from "./drafter.js";
import type { SuffixAutomaton } from "./suffix-automaton.js";

/** Tokens grafted onto a leaf. */
const maxLength = 4;
/** Shorter passages say nothing about a leaf. */
const leastMatch = 2;

export class ReaderDrafter implements Drafter {
  readonly source = "reader";
  /** `alone`: no other drafter keeps the text. */
  constructor(
    private readonly text_: SuffixAutomaton,
    private readonly alone_: boolean,
  ) {}

  push(token: number): void {
    if (this.alone_) this.text_.push(token);
  }

  /** Where others keep the text, it grafts onto what they propose. */
  isReady(): boolean {
    return this.alone_;
  }

  draft(tree: DraftTree): void {
    const leaves = tree.count;
    // Of a tree without drafts, the root is the leaf.
    for (let node = leaves === 1 ? 0 : 1; node < leaves && tree.count < maxNodes; node++) {
      if (isLeaf(tree, node, leaves)) this.graft(tree, node);
    }
  }

  private graft(tree: DraftTree, leaf: number): void {
    const path: number[] = [];
    for (let node = leaf; node > 0; node = tree.parents[node] as number) path.push(tree.tokens[node] as number);
    const match = this.text_.matchWith(path.reverse());
    if (match.length < leastMatch) return;
    let node = leaf;
    for (let i = 0; i < maxLength && match.next + i < this.text_.size && node >= 0; i++) {
      node = tree.propose(node, this.text_.token(match.next + i), this.source, matchLevel(match.length + i));
    }
  }
}

function isLeaf(tree: DraftTree, node: number, count: number): boolean {
  for (let other = node + 1; other < count; other++) if (tree.parents[other] === node) return false;
  return true;
}
