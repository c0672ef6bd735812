/**
 * Texts of requests that are over, prompts and answers, for the readers of later ones. Only where it is asked for: which
 * drafts come true, and so how long an answer takes, then says something about what others wrote. The tokens stay the same.
 */
import { SuffixAutomaton } from "./suffix-automaton.js";

/** Tokens kept, some 100 bytes each. */
const mostTokens = 1 << 18;

export class SharedText {
  private text_ = new SuffixAutomaton();
  /** `separator`: a token that no text has. */
  constructor(private readonly separator_: number) {}

  /** Another one once texts were forgotten. */
  get text(): SuffixAutomaton {
    return this.text_;
  }

  isSeparator(token: number): boolean {
    return token === this.separator_;
  }

  /** Adds a text, or its end when it is longer than all that is kept. Where there is no room, all others are forgotten. */
  add(text: SuffixAutomaton): void {
    if (this.text_.size + text.size >= mostTokens) this.text_ = new SuffixAutomaton();
    for (let i = Math.max(0, text.size - mostTokens + 1); i < text.size; i++) this.text_.push(text.token(i));
    this.text_.push(this.separator_);
  }
}
