/**
 * The suffix automaton (Blumer et al. 1985) of a text that grows token by token: in amortised constant time a token, it
 * knows the longest end of the text that occurred before, and shorter ones that occurred elsewhere.
 *
 * A state stands for substrings that end at the same places; its link leads to their longest suffix that also ends at
 * others. So the link of the state of the whole text is its longest repeated end, and the chain of links from there are
 * the ends that occur in more and more places.
 */
import { EdgeTable } from "./edge-table.js";

const root = 0;
const none = -1;
/** States along the links whose latest occurrence is kept up to date; shorter matches say little anyway. */
const maxUpdated = 16;

/** A passage that occurs in the text: the last `length` tokens of what `state` stands for. */
export interface TextPlace {
  state: number;
  length: number;
}

export class SuffixAutomaton {
  private text_ = new Int32Array(256);
  private size_ = 0;
  private states_ = 1;
  private last_ = root;
  private link_ = new Int32Array(512).fill(none);
  /** Tokens of a state's longest substring. */
  private length_ = new Int32Array(512);
  /** Index of the last token of the latest occurrence that something followed. */
  private end_ = new Int32Array(512).fill(none);
  private readonly edges_ = new EdgeTable();

  get size(): number {
    return this.size_;
  }

  /** Tokens of the longest end of the text that occurred before. */
  get longestMatch(): number {
    const state = this.link_[this.last_] as number;
    return state > root ? (this.length_[state] as number) : 0;
  }

  token(index: number): number {
    return this.text_[index] as number;
  }

  push(token: number): void {
    if (this.size_ === this.text_.length) this.text_ = grown(this.text_, 0);
    this.text_[this.size_] = token;
    this.markEnd();
    this.extend(token);
    this.size_++;
  }

  /** Ends of the text that occurred before, longest first: visit(their length, index of the token after it) until false. */
  visitMatches(visit: (length: number, next: number) => boolean): void {
    for (let state = this.link_[this.last_] as number; state > root; state = this.link_[state] as number) {
      if (!visit(this.length_[state] as number, (this.end_[state] as number) + 1)) return;
    }
  }

  /** The longest end of the text that occurred before. */
  get repeatedEnd(): TextPlace {
    const state = Math.max(root, this.link_[this.last_] as number);
    return { state, length: this.length_[state] as number };
  }

  /** Goes on to the longest end of the place's passage with `token` after it that occurs in the text. */
  advance(place: TextPlace, token: number): void {
    let next = this.edges_.get(place.state, token);
    while (next === none && place.state !== root) {
      place.state = this.link_[place.state] as number;
      // The passage may have been parted from its state's longer ones, so that the link has no shorter ones than itself.
      place.length = Math.min(place.length, this.length_[place.state] as number);
      next = this.edges_.get(place.state, token);
    }
    place.length = next === none ? 0 : place.length + 1;
    place.state = Math.max(root, next);
  }

  /** Index of what followed the passage, at its latest occurrence that something followed where there is one. */
  after(place: TextPlace): number {
    return (this.end_[place.state] as number) + 1;
  }

  /** The text's end is about to be followed: for what comes it is the latest occurrence of its repeated suffixes. */
  private markEnd(): void {
    let state = this.link_[this.last_] as number;
    for (let i = 0; i < maxUpdated && state > root; i++, state = this.link_[state] as number) {
      this.end_[state] = this.size_ - 1;
    }
  }

  private extend(token: number): void {
    const current = this.addState((this.length_[this.last_] as number) + 1, this.size_);
    let state = this.last_;
    for (; state !== none && this.edges_.get(state, token) === none; state = this.link_[state] as number) {
      this.edges_.set(state, token, current);
    }
    // split() may replace the arrays.
    const link = state === none ? root : this.split(state, token);
    this.link_[current] = link;
    this.last_ = current;
  }

  /** The state that `state` reaches by `token`, parted from the longer substrings that share it. */
  private split(state: number, token: number): number {
    const target = this.edges_.get(state, token);
    const length = (this.length_[state] as number) + 1;
    if (this.length_[target] === length) return target;
    const clone = this.addState(length, this.end_[target] as number);
    this.edges_.copy(target, clone);
    this.link_[clone] = this.link_[target] as number;
    this.link_[target] = clone;
    for (let each = state; each !== none && this.edges_.get(each, token) === target; ) {
      this.edges_.set(each, token, clone);
      each = this.link_[each] as number;
    }
    return clone;
  }

  private addState(length: number, end: number): number {
    if (this.states_ === this.length_.length) {
      this.link_ = grown(this.link_, none);
      this.length_ = grown(this.length_, 0);
      this.end_ = grown(this.end_, none);
    }
    this.length_[this.states_] = length;
    this.end_[this.states_] = end;
    return this.states_++;
  }
}

function grown(array: Int32Array<ArrayBuffer>, fill: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length).fill(fill, array.length);
  larger.set(array);
  return larger;
}
