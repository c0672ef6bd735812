/**
 * Token Recycling (Luo et al., ACL 2025): what the model once found likely after a token is likely again. The table is
 * written from every row that runs, rejected ones too. One table serves all requests of a model: it decides what is tried,
 * never what comes out.
 *
 * The published tree has 80 nodes in fixed places; here a node is proposed where its probability is worth a look, and what
 * was likely after the last two tokens counts more than what was likely after one.
 */
import type { DraftTree } from "./draft-tree.js";
import type { Drafter, Likeliest } from "./drafter.js";
import { pairLevels, type RecycledRows, type RecyclingTable } from "./recycling-table.js";

/** What nearly never comes is not worth a look; below the root only what may well come is, and not too deep. */
const leastLevel = 2;
const leastDeepLevel = 5;
/** One token says little: its row has nodes of its own only after the text, from this level; elsewhere it supports others. */
const leastSingle = 4;
const maxDepth = 6;

export class RecyclingDrafter implements Drafter {
  readonly source = "recycling";
  private readonly table_: RecyclingTable;
  /** The text's last two tokens. */
  private last_ = -1;
  private before_ = -1;
  /** Tokens of the rows above the one that is observed, by depth; rows come in depth-first order. */
  private readonly path_: number[] = [];

  constructor(table: RecyclingTable) {
    this.table_ = table;
  }

  push(token: number): void {
    this.before_ = this.last_;
    this.last_ = token;
  }

  draft(tree: DraftTree): void {
    const { table_: table } = this;
    for (let node = 0; node < tree.count; node++) {
      if ((tree.depths[node] as number) >= maxDepth) continue;
      const token = tree.tokens[node] as number;
      const before = node === 0 ? this.before_ : (tree.tokens[tree.parents[node] as number] as number);
      const pair = table.findPair(before, token);
      if (pair >= 0) this.propose(tree, node, table.pairs, pair);
      this.propose(tree, node, table.singles, token);
    }
  }

  observe(token: number, likeliest: Likeliest, depth: number): void {
    this.path_[depth] = token;
    this.table_.write(depth === 0 ? this.before_ : (this.path_[depth - 1] as number), token, likeliest);
  }

  private propose(tree: DraftTree, node: number, rows: RecycledRows, row: number): void {
    const isPair = rows === this.table_.pairs;
    const least = node === 0 ? leastLevel : leastDeepLevel;
    const leastOwn = isPair ? least : node === 0 ? leastSingle : Infinity;
    for (let at = row * rows.width; at < (row + 1) * rows.width; at++) {
      const level = rows.levels[at] as number;
      if (level < least) return;
      const token = rows.ids[at] as number;
      if (level < leastOwn && tree.find(node, token) < 0) continue;
      tree.propose(node, token, this.source, isPair ? level + pairLevels : level);
    }
  }
}
