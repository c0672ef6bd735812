/** The free list of K/V pages. Last freed, first taken, so the pages in use stay few and warm. */
export class PagePool {
  readonly total: number;
  private readonly free_: Int32Array;
  private count_: number;

  constructor(total: number) {
    this.total = total;
    this.free_ = Int32Array.from({ length: total }, (_, i) => total - 1 - i);
    this.count_ = total;
  }

  get free(): number {
    return this.count_;
  }

  /** Moves `count` pages into out[offset…]; the caller has checked that they are there. */
  take(count: number, out: Int32Array, offset: number): void {
    for (let i = 0; i < count; i++) out[offset + i] = this.free_[--this.count_] as number;
  }

  /** Takes back the `count` pages at table[offset…] and clears the entries to -1. */
  giveBack(count: number, table: Int32Array, offset: number): void {
    for (let i = count - 1; i >= 0; i--) {
      this.free_[this.count_++] = table[offset + i] as number;
      table[offset + i] = -1;
    }
  }
}
