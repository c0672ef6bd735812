/**
 * Goes on as the text did after earlier occurrences of its end (the idea of SAM-Decoding and SuffixDecoding): the longest
 * repeated end says most, shorter ones that went on otherwise are branches. How sure it is goes by the length of the match,
 * and by whether shorter ends, which stood elsewhere, went on with the same token.
 */
import type { DraftTree } from "./draft-tree.js";
import { type Drafter, matchLevel, matchLevels } from "./drafter.js";
import type { SuffixAutomaton } from "./suffix-automaton.js";

/** Different continuations that are proposed, and tokens of the likeliest and of the others. */
const maxBranches = 3;
const maxDepth = 12;
const branchDepth = 2;
/** What followed a single token before follows it again too seldom to pay for a row. */
const leastMatch = 2;
/** Matches that are asked whether they agree. */
const maxWitnesses = 4;

/** What other occurrences say about the next token. */
const witness = { disagree: 0, none: 1, agree: 2 };

export class SuffixDrafter implements Drafter {
  readonly source = "suffix";
  private readonly text_: SuffixAutomaton;

  constructor(text: SuffixAutomaton) {
    this.text_ = text;
  }

  push(token: number): void {
    this.text_.push(token);
  }

  isReady(): boolean {
    return this.text_.longestMatch >= leastMatch;
  }

  draft(tree: DraftTree): void {
    const heard = this.hearWitnesses();
    let branches = 0;
    this.text_.visitMatches((length, next) => {
      // A second branch for the same next token would only repeat what a longer match says better.
      if (branches > 0 && tree.find(0, this.text_.token(next)) >= 0) return true;
      this.follow(tree, { length, next, heard, most: branches === 0 ? maxDepth : branchDepth });
      return ++branches < maxBranches;
    });
  }

  /** Whether shorter matches went on with the same token as the longest. */
  private hearWitnesses(): number {
    let [expected, count] = [-1, 0];
    let heard = witness.none;
    this.text_.visitMatches((_length, next) => {
      const token = this.text_.token(next);
      if (count === 0) expected = token;
      else if (token !== expected) heard = witness.disagree;
      else if (heard === witness.none) heard = witness.agree;
      return ++count < maxWitnesses && heard !== witness.disagree;
    });
    return heard;
  }

  private follow(tree: DraftTree, match: { length: number; next: number; heard: number; most: number }): void {
    const end = Math.min(match.next + match.most, this.text_.size);
    let node = 0;
    for (let at = match.next; at < end && node >= 0; at++) {
      // Nobody was asked about the tokens further on.
      const heard = node === 0 ? match.heard : Math.min(match.heard, witness.none);
      const level = matchLevel(match.length + at - match.next) + matchLevels * heard;
      node = tree.propose(node, this.text_.token(at), this.source, level);
    }
  }
}
