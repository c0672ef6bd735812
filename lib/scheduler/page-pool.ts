/**
 * K/V pages and who needs them: the sequences that hold a page, counted, and the prefix tree, which caches it. A page
 * that nobody needs is free; one that only the tree needs can be had by evicting it there.
 *
 * A sequence gets pages that follow each other within a tile where it can: the keys and values of a tile lie side by
 * side in memory (the native cache), which reading them back is faster by.
 */

/** Pages of a tile of the native K/V arena. */
const pagesPerTile = 8;

export class PagePool {
  readonly total: number;
  private readonly holders_: Uint32Array;
  private readonly isCached_: Uint8Array;
  private readonly isFree_: Uint8Array;
  private readonly freeOfTile_: Uint8Array;
  private free_: number;
  private held_ = 0;
  private cached_ = 0;

  constructor(total: number) {
    this.total = total;
    this.free_ = total;
    this.holders_ = new Uint32Array(total);
    this.isCached_ = new Uint8Array(total);
    this.isFree_ = new Uint8Array(total).fill(1);
    this.freeOfTile_ = new Uint8Array(Math.floor(total / pagesPerTile)).fill(pagesPerTile);
  }

  /** Pages nobody needs. */
  get free(): number {
    return this.free_;
  }

  /** Pages no sequence holds: free ones, and those that only the tree would lose. */
  get available(): number {
    return this.total - this.held_;
  }

  /** Pages of the tree. */
  get cached(): number {
    return this.cached_;
  }

  isHeld(page: number): boolean {
    return (this.holders_[page] as number) > 0;
  }

  /**
   * A free page for one holder, the one after `last` (-1: none) where possible; -1 when none is free. One that is to be
   * given back soon is the first free page: its memory has most likely been touched before.
   */
  take(last: number, forSoon = false): number {
    if (this.free_ === 0) return -1;
    const page = forSoon ? this.isFree_.indexOf(1) : this.findFree(last);
    this.setFree(page, 0);
    this.holders_[page] = 1;
    this.held_++;
    return page;
  }

  /** One more holder of a page that is held or cached. */
  hold(page: number): void {
    if ((this.holders_[page] as number)++ === 0) this.held_++;
  }

  /** One holder less. */
  drop(page: number): void {
    if (--(this.holders_[page] as number) > 0) return;
    this.held_--;
    if (this.isCached_[page] === 0) this.setFree(page, 1);
  }

  /** The tree keeps the page, beside its holders. */
  cache(page: number): void {
    this.isCached_[page] = 1;
    this.cached_++;
  }

  /** The tree gives the page up. */
  uncache(page: number): void {
    this.isCached_[page] = 0;
    this.cached_--;
    if (!this.isHeld(page)) this.setFree(page, 1);
  }

  private findFree(last: number): number {
    const neighbour = last + 1;
    if (last >= 0 && neighbour % pagesPerTile !== 0 && this.isFree_[neighbour] === 1) return neighbour;
    const tile = this.freeOfTile_.indexOf(pagesPerTile);
    return tile >= 0 ? tile * pagesPerTile : this.isFree_.indexOf(1);
  }

  private setFree(page: number, free: 0 | 1): void {
    const change = free === 1 ? 1 : -1;
    this.isFree_[page] = free;
    this.free_ += change;
    const tile = Math.floor(page / pagesPerTile);
    if (tile < this.freeOfTile_.length) this.freeOfTile_[tile] = (this.freeOfTile_[tile] as number) + change;
  }
}
