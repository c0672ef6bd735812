/** Edges (state, token) → state: one hash table of open addressing, and a list of each state's edges to copy them by. */
const none = -1;

export class EdgeTable {
  /** Slots of the table: index of an edge, or -1. Its size is a power of two. */
  private slots_ = new Int32Array(1024).fill(none);
  private state_ = new Int32Array(512);
  private token_ = new Int32Array(512);
  private target_ = new Int32Array(512);
  /** The state's next edge. */
  private next_ = new Int32Array(512);
  private count_ = 0;
  /** First edge of each state. */
  private first_ = new Int32Array(512).fill(none);

  /** -1 when there is none. */
  get(state: number, token: number): number {
    const edge = this.slots_[this.slotOf(state, token)] as number;
    return edge === none ? none : (this.target_[edge] as number);
  }

  set(state: number, token: number, target: number): void {
    const slot = this.slotOf(state, token);
    const known = this.slots_[slot] as number;
    if (known !== none) this.target_[known] = target;
    else this.add(slot, state, token, target);
  }

  /** Gives `to`, which has none, the edges of `from`. */
  copy(from: number, to: number): void {
    for (let edge = this.first_[from] ?? none; edge !== none; edge = this.next_[edge] as number) {
      this.set(to, this.token_[edge] as number, this.target_[edge] as number);
    }
  }

  private add(slot: number, state: number, token: number, target: number): void {
    const edge = this.count_++;
    this.slots_[slot] = edge;
    this.state_[edge] = state;
    this.token_[edge] = token;
    this.target_[edge] = target;
    while (state >= this.first_.length) this.first_ = grown(this.first_);
    this.next_[edge] = this.first_[state] as number;
    this.first_[state] = edge;
    if (this.count_ === this.state_.length) this.grow();
  }

  /** Where the edge is, or would go. */
  private slotOf(state: number, token: number): number {
    const mask = this.slots_.length - 1;
    let hash = Math.imul(state, 0x9e3779b1) ^ Math.imul(token, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const edge = this.slots_[slot] as number;
      if (edge === none || (this.state_[edge] === state && this.token_[edge] === token)) return slot;
    }
  }

  private grow(): void {
    this.state_ = grown(this.state_);
    this.token_ = grown(this.token_);
    this.target_ = grown(this.target_);
    this.next_ = grown(this.next_);
    this.slots_ = new Int32Array(2 * this.slots_.length).fill(none);
    for (let edge = 0; edge < this.count_; edge++) {
      this.slots_[this.slotOf(this.state_[edge] as number, this.token_[edge] as number)] = edge;
    }
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length).fill(none, array.length);
  larger.set(array);
  return larger;
}
