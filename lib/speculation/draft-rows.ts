/**
 * The nodes of a draft tree that a step verifies, as rows. Row 0 is the text's last token, the others follow in depth-first
 * order, the likeliest child first: so a path that always takes the likeliest child is a run of neighbouring rows. Each
 * further child begins a branch of its own, again a run.
 */
import type { DraftTree } from "./draft-tree.js";

export interface DraftRows {
  readonly count: number;
  readonly tokens: readonly number[];
  /** Row of the parent; always a smaller one. -1 for row 0. */
  readonly parents: readonly number[];
  readonly depths: readonly number[];
  /** Branch of the row; 0 is the run that begins with row 0. Rows of a branch follow each other. */
  readonly branches: readonly number[];
  /** The row's node in the tree. */
  readonly nodes: readonly number[];
}

/** `chosen` holds every node's parent, or the root, before the node, and a parent's children in the order of their worth. */
export function orderRows(tree: DraftTree, chosen: readonly number[]): DraftRows {
  const children = new Map<number, number[]>();
  for (const node of chosen) {
    const parent = tree.parents[node] as number;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [node]);
    else siblings.push(node);
  }
  const rows = { count: 0, tokens: [], parents: [], depths: [], branches: [], nodes: [] } as Growing;
  let branches = 0;
  const visit = (node: number, parent: number, branch: number): void => {
    const row = rows.count++;
    rows.tokens.push(tree.tokens[node] as number);
    rows.parents.push(parent);
    rows.depths.push(tree.depths[node] as number);
    rows.branches.push(branch);
    rows.nodes.push(node);
    for (const [i, child] of (children.get(node) ?? []).entries()) visit(child, row, i === 0 ? branch : ++branches);
  };
  visit(0, -1, 0);
  return rows;
}

/** The row under `parent` that has this token; -1 when there is none. */
export function childRow(rows: DraftRows, parent: number, token: number): number {
  for (let row = parent + 1; row < rows.count; row++) {
    if (rows.parents[row] === parent && rows.tokens[row] === token) return row;
  }
  return -1;
}

interface Growing extends DraftRows {
  count: number;
  tokens: number[];
  parents: number[];
  depths: number[];
  branches: number[];
  nodes: number[];
}
