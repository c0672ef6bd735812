/**
 * Token Recycling as it was published (Luo et al., ACL 2025): a matrix of the eight likeliest tokens after each token, and a
 * tree of 80 nodes in fixed places, 8, 21, 25, 15, 8 and 3 a level. Which ranks they have is rebuilt here: on every level
 * the likeliest by how often a rank is right. Only for comparison with the drafters of lib/speculation.
 */
const width = 8;
const levels = [8, 21, 25, 15, 8, 3];
const rankChance = [0.42, 0.13, 0.06, 0.035, 0.025, 0.018, 0.012, 0.01];

/** Nodes in level order: { parent, rank }; the root is -1. */
const nodes = levels.reduce(
  ({ all, above }, count) => {
    const level = above
      .flatMap(({ index, chance }) => rankChance.map((of, rank) => ({ parent: index, rank, chance: chance * of })))
      .sort((a, b) => b.chance - a.chance)
      .slice(0, count)
      .map((node, i) => ({ ...node, index: all.length + i }));
    return { all: [...all, ...level], above: level };
  },
  { all: [], above: [{ index: -1, chance: 1 }] },
).all;

export const treeRows = nodes.length + 1;

export class RecyclingTree {
  #matrix = new Map();

  /** Tokens of `truth` from `from` that one step gives, its own included. `observe` says what was likely after the row of a token. */
  step(last, truth, from) {
    const tokens = [];
    for (const { parent, rank } of nodes) {
      const token = parent < 0 ? last : tokens[parent];
      tokens.push(token === undefined ? undefined : this.#matrix.get(token)?.[rank]);
    }
    let node = -1;
    let count = 1;
    for (; from + count < truth.length; count++) {
      node = nodes.findIndex(({ parent }, i) => i > node && parent === node && tokens[i] === truth[from + count - 1]);
      if (node < 0) break;
    }
    return count;
  }

  observe(token, ids) {
    this.#matrix.set(token, ids.slice(0, width));
  }
}
