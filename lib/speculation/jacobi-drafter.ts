/**
 * Jacobi iteration for free: after a rejection, the model's own guesses at the rejected rows were made for the places
 * that come next. Their best tokens are proposed there (Lookahead Decoding, Fu et al. 2024, without its extra rows).
 *
 * Alone it is Jacobi decoding (Santilli et al. 2023): every place ahead has a guess, at first the text's last token. It
 * pays with models that were trained to converge that way (CLLMs, Kou et al. 2024).
 */
import { type DraftTree, maxNodes } from "./draft-tree.js";
import type { Drafter, Likeliest } from "./drafter.js";

export class JacobiDrafter implements Drafter {
  readonly source = "jacobi";
  /** Best token for each place after the last step's first row, from the principal path. */
  private guesses_: number[] = [];
  private last_ = 0;
  /** Tokens pushed since. */
  private pushed_ = 0;

  /** `alone`: guess every place. */
  constructor(private readonly alone_: boolean) {}

  push(token: number): void {
    this.last_ = token;
    this.pushed_++;
  }

  draft(tree: DraftTree): void {
    let node = 0;
    const end = this.alone_ ? this.pushed_ + maxNodes : this.guesses_.length;
    for (let i = this.pushed_; i < end && node >= 0; i++) {
      node = tree.propose(node, this.guesses_[i] ?? this.last_, this.source, 1 + Math.min(3, i - this.pushed_));
    }
  }

  observe(_token: number, { ids, offset, count }: Likeliest, depth: number): void {
    if (depth === 0) {
      this.guesses_ = [];
      this.pushed_ = 0;
    }
    if (count > 0 && this.guesses_[depth] === undefined) this.guesses_[depth] = ids[offset] as number;
  }
}
