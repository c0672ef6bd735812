/**
 * The page tables of the sequences that run: which page holds which 32 positions of whom. Pages come from the pool as a
 * sequence grows, or from the prefix tree when their tokens have been computed before; the pages a sequence fills go
 * into the tree as soon as they are full, and what is left at its end. A page in the tree is never written again: who
 * goes on in the middle of one gets a copy. Where the engine approximates, a sequence shares the pages of its exact
 * positions alone.
 */
import { pagePositions } from "../limits.js";
import { PagePool } from "./page-pool.js";
import { PrefixTree } from "./prefix-tree.js";
import type { Sequence } from "./sequence.js";

export class PageTables {
  /** Entry [slot * stride + position / 32]; -1 where there is no page. */
  readonly entries: Int32Array;
  readonly pool: PagePool;
  private readonly stride_: number;
  private readonly tree_: PrefixTree;
  /** [from, to, from, to, …]: pages to be copied before anything else is done with them, in this order. */
  private copies_: number[] = [];

  constructor(pages: number, slots: number, stride: number) {
    this.entries = new Int32Array(slots * stride).fill(-1);
    this.pool = new PagePool(pages);
    this.stride_ = stride;
    this.tree_ = new PrefixTree(this.pool);
  }

  /** The copies that are due; the caller makes them now. */
  takeCopies(): Int32Array {
    const copies = Int32Array.from(this.copies_);
    this.copies_ = [];
    return copies;
  }

  pagesOf(sequence: Sequence): Int32Array {
    const begin = sequence.slot * this.stride_;
    return this.entries.subarray(begin, begin + sequence.pages);
  }

  /** Pages that would no longer be available if the sequence, which waits, ran up to its next answer and one page on. */
  pagesNeeded(sequence: Sequence): number {
    let needed = Math.ceil(sequence.length / pagePositions) + 1;
    if (!sequence.usesCache) return needed;
    let node = this.tree_.root(sequence.namespace);
    for (let end = pagePositions; end <= sequence.cacheable; end += pagePositions) {
      const child = this.tree_.findPage(node, sequence.tokens, end - pagePositions);
      if (child === undefined) break;
      if (this.pool.isHeld(child.page)) needed--;
      node = child;
    }
    return needed;
  }

  /** Skips the positions whose pages the tree has, in whole pages, then by a copy of the page that has the next ones. */
  adopt(sequence: Sequence): void {
    if (!sequence.usesCache) return;
    const before = sequence.computed;
    sequence.node ??= this.tree_.root(sequence.namespace);
    for (;;) {
      const begin = sequence.cachedPages * pagePositions;
      if (begin + pagePositions > sequence.cacheable) break;
      const node = this.tree_.findPage(sequence.node, sequence.tokens, begin);
      if (node === undefined) break;
      this.tree_.touch(node);
      this.pool.hold(node.page);
      this.setPage(sequence, sequence.cachedPages++, node.page);
      sequence.node = node;
      sequence.computed = Math.max(sequence.computed, begin + pagePositions);
    }
    if (sequence.computed === sequence.cachedPages * pagePositions) this.copyPartial(sequence);
    if (!sequence.preempted) sequence.cachedTokens += sequence.computed - before;
  }

  /** Gives the sequence pages for its first `positions` positions; false when there are too few, and it has the rest. */
  grow(sequence: Sequence, positions: number): boolean {
    while (sequence.pages * pagePositions < positions) {
      const last = sequence.pages === 0 ? -1 : (this.pagesOf(sequence)[sequence.pages - 1] as number);
      const page = this.allocate(last);
      if (page < 0) return false;
      this.setPage(sequence, sequence.pages, page);
    }
    return true;
  }

  /** Puts the pages that the sequence has filled into the tree; where it has them already, the sequence takes those. */
  publish(sequence: Sequence): void {
    if (!sequence.usesCache) return;
    sequence.node ??= this.tree_.root(sequence.namespace);
    while ((sequence.cachedPages + 1) * pagePositions <= sequence.shareable) {
      const begin = sequence.cachedPages * pagePositions;
      const own = this.pagesOf(sequence)[sequence.cachedPages] as number;
      const node = this.tree_.add(sequence.node, sequence.tokens, begin, begin + pagePositions, own);
      if (node.page !== own) {
        this.pool.hold(node.page);
        this.setPage(sequence, sequence.cachedPages, node.page);
      }
      sequence.cachedPages++;
      sequence.node = node;
    }
  }

  /** Takes all pages back; what the sequence computed stays in the tree while there is room. */
  release(sequence: Sequence): void {
    this.publish(sequence);
    const begin = sequence.cachedPages * pagePositions;
    const pages = this.pagesOf(sequence);
    if (sequence.node !== null && sequence.shareable > begin) {
      const page = pages[sequence.cachedPages] as number;
      this.tree_.addTail(sequence.node, sequence.tokens, begin, sequence.shareable, page);
    }
    // From the end: pages that are freed first are the last ones to be found again.
    for (let i = sequence.pages - 1; i >= 0; i--) this.pool.drop(pages[i] as number);
    pages.fill(-1);
    sequence.pages = sequence.cachedPages = sequence.computed = 0;
    sequence.node = null;
  }

  /** Up to `count` pages for positions that come from elsewhere, held until `keep`. */
  reserve(count: number): Int32Array {
    const pages: number[] = [];
    while (pages.length < count) {
      const page = this.allocate(pages.at(-1) ?? -1);
      if (page < 0) break;
      pages.push(page);
    }
    return Int32Array.from(pages);
  }

  /** Puts the reserved pages, which now hold the first positions of `tokens`, into the tree. */
  keep(namespace: number, tokens: Int32Array, computed: number, pages: Int32Array): void {
    let node = this.tree_.root(namespace);
    pages.forEach((page, i) => {
      const begin = i * pagePositions;
      const end = Math.min(begin + pagePositions, computed);
      node = this.tree_.add(node, tokens, begin, end, page);
      this.pool.drop(page);
    });
  }

  forget(namespace: number): void {
    this.tree_.forget(namespace);
  }

  pageAt(table: number, index: number): number {
    return this.entries[table * this.stride_ + index] as number;
  }

  /**
   * Makes `table` the sequence's up to page `firstPage`, then gives it pages of its own up to `endPage`, the first of them a
   * copy. False when there are too few pages; nothing is taken then.
   */
  openBranch(sequence: Sequence, table: number, firstPage: number, endPage: number): boolean {
    const begin = table * this.stride_;
    this.entries.set(this.pagesOf(sequence).subarray(0, firstPage), begin);
    for (let index = firstPage; index < endPage; index++) {
      const page = this.allocate(-1, true);
      if (page < 0) {
        this.closeBranch(table, firstPage, index);
        return false;
      }
      this.entries[begin + index] = page;
    }
    if (sequence.computed % pagePositions !== 0) {
      this.copies_.push(this.pagesOf(sequence)[firstPage] as number, this.pageAt(table, firstPage));
    }
    return true;
  }

  /** The branch's own pages take the place of the sequence's; those the prefix tree has got meanwhile hold the same. */
  adoptBranch(sequence: Sequence, table: number, firstPage: number, endPage: number): void {
    for (let index = Math.max(firstPage, sequence.cachedPages); index < endPage; index++) {
      this.setPage(sequence, index, this.pageAt(table, index));
      this.entries[table * this.stride_ + index] = -1;
    }
  }

  closeBranch(table: number, firstPage: number, endPage: number): void {
    const pages = this.entries.subarray(table * this.stride_ + firstPage, table * this.stride_ + endPage);
    for (const page of pages) if (page >= 0) this.pool.drop(page);
    pages.fill(-1);
  }

  private copyPartial(sequence: Sequence): void {
    const begin = sequence.computed;
    if (sequence.node === null || begin >= sequence.cacheable) return;
    const found = this.tree_.findPartial(sequence.node, sequence.tokens, begin, sequence.cacheable);
    if (found === undefined) return;
    // Held meanwhile, so that the page for the copy is not this one.
    this.pool.hold(found.page);
    const grown = this.grow(sequence, begin + found.count);
    this.pool.drop(found.page);
    if (!grown) return;
    this.copies_.push(found.page, this.pagesOf(sequence)[sequence.cachedPages] as number);
    sequence.computed += found.count;
  }

  /** A page that is free, or freed from the tree; -1 when sequences hold all. */
  private allocate(last: number, forSoon = false): number {
    const page = this.pool.take(last, forSoon);
    if (page >= 0 || !this.tree_.evict()) return page;
    return this.pool.take(last, forSoon);
  }

  /** The page becomes number `index` of the sequence, in place of one it has, or after its last. */
  private setPage(sequence: Sequence, index: number, page: number): void {
    const entry = sequence.slot * this.stride_ + index;
    if (index < sequence.pages) this.pool.drop(this.entries[entry] as number);
    else sequence.pages++;
    this.entries[entry] = page;
  }
}
