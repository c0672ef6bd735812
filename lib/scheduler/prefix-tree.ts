/**
 * Which prefixes are in the K/V cache: a radix tree whose nodes are pages. A node stands for the tokens of one page,
 * after those of its parents: 32 of them, or fewer in a leaf. The keys and values of a position are a function of the
 * tokens up to it alone, bit for bit, so a page serves every sequence that starts with its path.
 *
 * Pages are found by a hash of their tokens, and believed only after comparing the tokens themselves. Each namespace is
 * a tree of its own. The tree gives up the least recently used leaves that no sequence holds; since a sequence holds its
 * whole path, whatever hangs below a page that nobody holds is not held either.
 */
import { pagePositions } from "../limits.js";
import type { PagePool } from "./page-pool.js";

/** Children of a node that are compared token by token when no whole page matches. */
const maxCompared = 256;

export class PrefixNode {
  /** By hash; whole pages and partial ones. */
  readonly children = new Map<number, PrefixNode[]>();
  constructor(
    readonly parent: PrefixNode | null,
    readonly tokens: Int32Array,
    readonly page: number,
  ) {}
}

/** Part of a page: its first `count` positions. */
export interface PartialPage {
  page: number;
  count: number;
}

export class PrefixTree {
  private readonly pool_: PagePool;
  private readonly roots_ = new Map<number, PrefixNode>();
  /** From least to most recently used; a node always comes after its children. */
  private readonly byUse_ = new Set<PrefixNode>();

  constructor(pool: PagePool) {
    this.pool_ = pool;
  }

  /** The node before the first page of a namespace. */
  root(namespace: number): PrefixNode {
    let root = this.roots_.get(namespace);
    if (root === undefined) {
      root = new PrefixNode(null, new Int32Array(0), -1);
      this.roots_.set(namespace, root);
    }
    return root;
  }

  /** The node of the page that holds tokens[begin, begin + 32) after `parent`. */
  findPage(parent: PrefixNode, tokens: Int32Array, begin: number): PrefixNode | undefined {
    const wanted = tokens.subarray(begin, begin + pagePositions);
    return parent.children.get(hashOf(wanted))?.find((node) => isEqual(node.tokens, wanted));
  }

  /** The page after `parent` that shares most tokens with tokens[begin, end), one at least. */
  findPartial(parent: PrefixNode, tokens: Int32Array, begin: number, end: number): PartialPage | undefined {
    let best: PrefixNode | undefined;
    let most = 0;
    for (const node of childrenOf(parent, maxCompared)) {
      const count = sharedLength(node.tokens, tokens, begin, end);
      if (count > most) [most, best] = [count, node];
    }
    if (best === undefined) return undefined;
    this.touch(best);
    return { page: best.page, count: most };
  }

  /**
   * Adds the page of tokens[begin, end) (32, or fewer for the end of a sequence) after `parent`, or gives the node that
   * says so already: then the caller's page is a copy of that node's.
   */
  add(parent: PrefixNode, tokens: Int32Array, begin: number, end: number, page: number): PrefixNode {
    const own = tokens.slice(begin, end);
    const hash = hashOf(own);
    const bucket = parent.children.get(hash);
    const found = bucket?.find((node) => isEqual(node.tokens, own));
    if (found !== undefined) {
      this.touch(found);
      return found;
    }
    const node = new PrefixNode(parent, own, page);
    if (bucket === undefined) parent.children.set(hash, [node]);
    else bucket.push(node);
    this.pool_.cache(page);
    this.touch(node);
    return node;
  }

  /** Adds the page of a sequence's end, fewer than 32 tokens, unless one that is there begins with them. */
  addTail(parent: PrefixNode, tokens: Int32Array, begin: number, end: number, page: number): void {
    for (const node of childrenOf(parent, maxCompared)) {
      const count = sharedLength(node.tokens, tokens, begin, end);
      if (count === end - begin) return this.touch(node);
      if (count === node.tokens.length) this.remove(node);
    }
    this.add(parent, tokens, begin, end, page);
  }

  /** Marks a node and its parents as used now; parents that were given up stay so. */
  touch(node: PrefixNode): void {
    this.byUse_.add(node);
    for (let each = node; each.parent !== null; each = each.parent) {
      if (this.byUse_.delete(each)) this.byUse_.add(each);
    }
  }

  /** Gives up a namespace. What a running sequence still adds to it is found by nobody, and leaves in its turn. */
  forget(namespace: number): void {
    const root = this.roots_.get(namespace);
    this.roots_.delete(namespace);
    const left = root === undefined ? [] : childrenOf(root, Infinity);
    for (let node = left.pop(); node !== undefined; node = left.pop()) {
      left.push(...childrenOf(node, Infinity));
      this.remove(node);
    }
  }

  /** Gives up the least recently used page that no sequence holds; false when there is none. */
  evict(): boolean {
    for (const node of this.byUse_) {
      if (this.pool_.isHeld(node.page)) continue;
      this.remove(node);
      return true;
    }
    return false;
  }

  private remove(node: PrefixNode): void {
    const parent = node.parent as PrefixNode;
    const hash = hashOf(node.tokens);
    const bucket = (parent.children.get(hash) as PrefixNode[]).filter((each) => each !== node);
    if (bucket.length === 0) parent.children.delete(hash);
    else parent.children.set(hash, bucket);
    this.byUse_.delete(node);
    this.pool_.uncache(node.page);
  }
}

function childrenOf(node: PrefixNode, most: number): PrefixNode[] {
  const children: PrefixNode[] = [];
  for (const bucket of node.children.values()) {
    children.push(...bucket);
    if (children.length >= most) break;
  }
  return children;
}

/** FNV-1a over the tokens and their number. */
function hashOf(tokens: Int32Array): number {
  let hash = 0x811c9dc5 ^ tokens.length;
  for (const token of tokens) hash = Math.imul(hash ^ token, 0x01000193);
  return hash >>> 0;
}

function isEqual(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}

function sharedLength(page: Int32Array, tokens: Int32Array, begin: number, end: number): number {
  const most = Math.min(page.length, end - begin);
  let count = 0;
  while (count < most && page[count] === tokens[begin + count]) count++;
  return count;
}
