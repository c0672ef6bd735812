/**
 * Branches of drafts. The rows of a draft's main path run on the sequence's own pages. A branch stands at positions that
 * another path has too, so it gets a page table of its own: the sequence's full pages, and copies of the page that the
 * path is in and of those after it. Its ancestors in the same step write their keys and values into its pages as well
 * (mirrors). When the text goes on along a branch, its pages take the place of the sequence's.
 */
import { pagePositions } from "../limits.js";
import type { DraftRows } from "../speculation/index.js";
import type { PageTables } from "./page-tables.js";
import type { Sequence } from "./sequence.js";

interface Branch {
  owner: Sequence;
  /** The draft's number for it. */
  number: number;
  table: number;
  /** Pages [firstPage, endPage) of its table are its own. */
  firstPage: number;
  endPage: number;
}

export class DraftBranches {
  private readonly tables_: PageTables;
  private readonly firstTable_: number;
  private readonly max_: number;
  private branches_: Branch[] = [];
  /** [row of the step, page]: by row. */
  private mirrors_: [number, number][] = [];

  /** Page tables [firstTable, firstTable + max) are theirs. */
  constructor(tables: PageTables, firstTable: number, max: number) {
    this.tables_ = tables;
    this.firstTable_ = firstTable;
    this.max_ = max;
  }

  /** Mirrors of the step, by row; the arrays are replaced when they are too small. */
  writeMirrors(arrays: { mirrorRows: Int32Array; mirrorPages: Int32Array }): number {
    const mirrors = this.mirrors_.sort((a, b) => a[0] - b[0]);
    if (mirrors.length > arrays.mirrorRows.length) {
      arrays.mirrorRows = new Int32Array(2 * mirrors.length);
      arrays.mirrorPages = new Int32Array(2 * mirrors.length);
    }
    mirrors.forEach(([row, page], i) => {
      arrays.mirrorRows[i] = row;
      arrays.mirrorPages[i] = page;
    });
    return mirrors.length;
  }

  /** A page table for a branch of the sequence's draft; -1 when there is none, or no page for it. */
  open(sequence: Sequence, number: number, deepest: number): number {
    if (this.branches_.length === this.max_) return -1;
    const table = this.firstTable_ + this.branches_.length;
    const firstPage = Math.floor(sequence.computed / pagePositions);
    const endPage = Math.floor((sequence.computed + deepest) / pagePositions) + 1;
    if (!this.tables_.openBranch(sequence, table, firstPage, endPage)) return -1;
    this.branches_.push({ owner: sequence, number, table, firstPage, endPage });
    return table;
  }

  /** Row `parent` of the draft and its ancestors write into the pages of a branch too; `rowOf`: rows of the step. */
  mirror(sequence: Sequence, table: number, parent: number, rowOf: readonly number[]): void {
    const { parents, depths } = sequence.draft as DraftRows;
    for (let row = parent; row >= 0; row = parents[row] as number) {
      const index = Math.floor((sequence.computed + (depths[row] as number)) / pagePositions);
      this.mirrors_.push([rowOf[row] as number, this.tables_.pageAt(table, index)]);
    }
  }

  /** The text went on along a branch: the sequence takes over its pages. */
  adopt(sequence: Sequence, number: number): void {
    const branch = this.branches_.find((each) => each.owner === sequence && each.number === number);
    if (branch !== undefined) this.tables_.adoptBranch(sequence, branch.table, branch.firstPage, branch.endPage);
  }

  /** Gives up all branches, or those of one sequence. */
  close(owner?: Sequence): void {
    this.mirrors_ = [];
    for (const branch of this.branches_) {
      if (owner !== undefined && branch.owner !== owner) continue;
      this.tables_.closeBranch(branch.table, branch.firstPage, branch.endPage);
      branch.endPage = branch.firstPage;
    }
    if (owner === undefined) this.branches_ = [];
  }
}
