/** Goes on as the text did after earlier occurrences of its end (the idea of SAM-Decoding and SuffixDecoding). */
import type { DraftTree } from "./draft-tree.js";
import { type Drafter, matchLevel } from "./drafter.js";
import type { SuffixAutomaton } from "./suffix-automaton.js";

/** Different continuations that are proposed, and tokens of the likeliest. */
const maxBranches = 3;
const maxDepth = 12;

export class SuffixDrafter implements Drafter {
  readonly source = "suffix";
  private readonly text_: SuffixAutomaton;

  constructor(text: SuffixAutomaton) {
    this.text_ = text;
  }

  push(token: number): void {
    this.text_.push(token);
  }

  draft(tree: DraftTree): void {
    let branches = 0;
    this.text_.visitMatches((length, next) => {
      // A second branch for the same next token would only repeat what a longer match says better.
      if (tree.find(0, this.text_.token(next)) >= 0 && branches > 0) return true;
      this.follow(tree, length, next, branches === 0 ? maxDepth : 2);
      return ++branches < maxBranches;
    });
  }

  private follow(tree: DraftTree, length: number, next: number, depth: number): void {
    let node = 0;
    for (let i = 0; i < depth && next + i < this.text_.size && node >= 0; i++) {
      node = tree.propose(node, this.text_.token(next + i), this.source, matchLevel(length + i));
    }
  }
}
