/**
 * READER (arXiv 2508.09072): grafts what the text itself says after a similar passage onto every leaf of the base tree.
 * Here the passage is the text's last tokens with the leaf's path at their end. Where texts are shared, those of earlier
 * requests are read too: the longer match has its way.
 */
import { type DraftTree, maxNodes } from "./draft-tree.js";
import { type Drafter, matchLevel, matchLevels } from "./drafter.js";
import type { SharedText } from "./shared-text.js";
import type { SuffixAutomaton, TextPlace } from "./suffix-automaton.js";

/** Tokens grafted onto a leaf; of a shared text as many as match, which may be a whole answer that was given before. */
const maxLength = 4;
const maxSharedLength = 12;
/** Shorter passages say nothing about a leaf. */
const leastMatch = 2;

export class ReaderDrafter implements Drafter {
  readonly source = "reader";
  /** The text that `place_` is a place of. */
  private others_: SuffixAutomaton | undefined;
  /** Where the end of the request's text stands in the texts of others. */
  private place_: TextPlace = { state: 0, length: 0 };

  /** `alone`: no other drafter keeps the text. */
  constructor(
    private readonly text_: SuffixAutomaton,
    private readonly alone_: boolean,
    private readonly shared_: SharedText | undefined,
  ) {
    this.others_ = shared_?.text;
  }

  push(token: number): void {
    if (this.alone_) this.text_.push(token);
    if (this.shared_ === undefined) return;
    if (this.others_ !== this.shared_.text) {
      this.others_ = this.shared_.text;
      this.place_ = { state: 0, length: 0 };
    }
    this.others_.advance(this.place_, token);
  }

  /** Where others keep the text, it grafts onto what they propose. */
  isReady(): boolean {
    return this.alone_ || this.place_.length >= leastMatch;
  }

  draft(tree: DraftTree): void {
    const leaves = tree.count;
    // Of a tree without drafts, the root is the leaf.
    for (let node = leaves === 1 ? 0 : 1; node < leaves && tree.count < maxNodes; node++) {
      if (isLeaf(tree, node, leaves)) this.graft(tree, node);
    }
  }

  end(): void {
    this.shared_?.add(this.text_);
  }

  private graft(tree: DraftTree, leaf: number): void {
    const path: number[] = [];
    for (let node = leaf; node > 0; node = tree.parents[node] as number) path.push(tree.tokens[node] as number);
    path.reverse();
    const own = follow(this.text_, this.text_.repeatedEnd, path);
    const other = this.others_ === undefined ? undefined : follow(this.others_, this.place_, path);
    if (this.others_ !== undefined && other !== undefined && other.length > own.length) {
      this.copy(tree, leaf, this.others_, other);
    } else {
      this.copy(tree, leaf, this.text_, own);
    }
  }

  /** Proposes what followed the match after `leaf`. */
  private copy(tree: DraftTree, leaf: number, text: SuffixAutomaton, match: TextPlace): void {
    if (match.length < leastMatch) return;
    const isShared = text !== this.text_;
    const most = isShared ? Math.min(maxSharedLength, match.length) : maxLength;
    const next = text.after(match);
    let node = leaf;
    for (let i = 0; i < most && next + i < text.size && node >= 0; i++) {
      const token = text.token(next + i);
      if (this.shared_?.isSeparator(token)) return;
      node = tree.propose(node, token, this.source, matchLevel(match.length + i) + (isShared ? matchLevels : 0));
    }
  }
}

function follow(text: SuffixAutomaton, from: TextPlace, path: readonly number[]): TextPlace {
  const place = { ...from };
  for (const token of path) text.advance(place, token);
  return place;
}

function isLeaf(tree: DraftTree, node: number, count: number): boolean {
  for (let other = node + 1; other < count; other++) if (tree.parents[other] === node) return false;
  return true;
}
