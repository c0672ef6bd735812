/**
 * Token Recycling (Luo et al., ACL 2025): what the model once found likely after a token is likely again. A row of
 * the table keeps the best ids after a token, with their probabilities in few levels; it is written from every row that
 * runs, rejected ones too. One table serves all requests of a model: it decides what is tried, never what comes out.
 *
 * The published tree has 80 nodes in fixed places; here a node is proposed where its probability is worth a look.
 */
import type { DraftTree } from "./draft-tree.js";
import { maxNodes } from "./draft-tree.js";
import type { Drafter, Likeliest } from "./drafter.js";

/** Ids a row keeps. */
const width = 8;
/** Upper ends of the probabilities of levels 1, 2, …; the last level has none. */
const levelEnds = [0.02, 0.05, 0.1, 0.18, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95];
/** Children of a node deeper in the tree, and how deep. */
const maxDepth = 6;
const deepWidth = 2;

export class RecyclingTable {
  private readonly ids_: Int32Array;
  private readonly levels_: Uint8Array;

  constructor(vocabSize: number) {
    this.ids_ = new Int32Array(vocabSize * width);
    this.levels_ = new Uint8Array(vocabSize * width);
  }

  write(token: number, { ids, logits, offset, count, logSumExp }: Likeliest): void {
    for (let i = 0; i < width; i++) {
      const at = token * width + i;
      this.ids_[at] = i < count ? (ids[offset + i] as number) : 0;
      this.levels_[at] = i < count ? levelOfProbability(Math.exp((logits[offset + i] as number) - logSumExp)) : 0;
    }
  }

  /** visit(token, level) for the first `most` that followed `token`, likeliest first. */
  visit(token: number, most: number, visit: (next: number, level: number) => void): void {
    for (let at = token * width; at < token * width + most; at++) {
      const level = this.levels_[at] as number;
      if (level > 0) visit(this.ids_[at] as number, level);
    }
  }
}

export class RecyclingDrafter implements Drafter {
  readonly source = "recycling";
  constructor(private readonly table_: RecyclingTable) {}

  push(): void {}

  draft(tree: DraftTree): void {
    for (let node = 0; node < tree.count && tree.count < maxNodes; node++) {
      const depth = tree.depths[node] as number;
      if (depth >= maxDepth) continue;
      this.table_.visit(tree.tokens[node] as number, depth === 0 ? width : deepWidth, (next, level) => {
        // Below the root only what may well come is worth a place.
        if (depth === 0 || level >= 5) tree.propose(node, next, this.source, level);
      });
    }
  }

  observe(token: number, likeliest: Likeliest): void {
    this.table_.write(token, likeliest);
  }
}

function levelOfProbability(probability: number): number {
  const level = levelEnds.findIndex((end) => probability < end);
  return (level < 0 ? levelEnds.length : level) + 1;
}
