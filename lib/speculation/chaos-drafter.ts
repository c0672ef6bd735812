/**
 * Random trees, for tests: whatever is drafted, and however it branches, the text must be the same. Tokens come from the
 * text itself and from anywhere in the vocabulary.
 */
import { uniform } from "../sampling/index.js";
import type { DraftTree } from "./draft-tree.js";
import type { Drafter } from "./drafter.js";

/** Tries a step to add a node; each hits a full or shallow tree now and then. */
const tries = 20;

export class ChaosDrafter implements Drafter {
  readonly source = "chaos";
  private readonly seen_: number[] = [];
  private drawn_ = 0;

  constructor(private readonly vocabSize_: number) {}

  push(token: number): void {
    this.seen_.push(token);
  }

  draft(tree: DraftTree): void {
    const count = this.below(tries);
    for (let i = 0; i < count; i++) {
      const isKnown = this.below(4) > 0;
      const token = isKnown ? (this.seen_[this.below(this.seen_.length)] as number) : this.below(this.vocabSize_);
      tree.propose(this.below(tree.count), token, this.source, 1);
    }
  }

  private below(bound: number): number {
    return Math.floor(uniform(9, this.drawn_++) * bound);
  }
}
