/** Writes the rows of a step into the reused arrays: prompts and single tokens, and drafts with their branches. */
import type { StepArrays } from "../binding/native.js";
import { pagePositions } from "../limits.js";
import type { DraftRows } from "../speculation/index.js";
import { DraftBranches } from "./draft-branches.js";
import type { PageTables } from "./page-tables.js";
import type { Sequence } from "./sequence.js";
import { createStepArrays, type Step, type StepLimits } from "./step.js";

export class StepBuilder {
  readonly arrays: StepArrays;
  readonly step: Step;
  readonly branches: DraftBranches;
  private readonly tables_: PageTables;

  constructor(limits: StepLimits, tables: PageTables, aborts: Int32Array) {
    const { maxSequences, maxBranches, pageStride } = limits;
    this.tables_ = tables;
    this.arrays = createStepArrays(limits, tables.entries, aborts);
    this.branches = new DraftBranches(tables, maxSequences, maxBranches);
    const shape = { rows: 0, sequences: maxSequences + maxBranches, pageStride, k: 1, mirrors: 0 };
    this.step = { shape, spans: [], wanted: [], decodeRows: 0, depth: 0 };
  }

  begin(): void {
    const { step } = this;
    step.spans.length = step.wanted.length = step.shape.rows = step.decodeRows = step.depth = 0;
    this.branches.close();
  }

  end(): void {
    this.step.shape.mirrors = this.branches.writeMirrors(this.arrays);
  }

  /** The sequence's next `rows` tokens. */
  add(sequence: Sequence, rows: number): void {
    const { step } = this;
    sequence.draft = null;
    const { tokens, positions, sequences, wants, targets } = this.arrays;
    const start = sequence.computed;
    const { wanted: kind } = sequence;
    let hidden = 0;
    for (let i = 0; i < rows; i++) {
      const row = step.shape.rows + i;
      const position = start + i;
      const last = position === sequence.length - 1;
      const wanted = kind === "targets" || (kind === "next" && last);
      const state = kind === "states" || (kind === "last-state" && last);
      tokens[row] = sequence.tokens[position] as number;
      positions[row] = position;
      sequences[row] = sequence.slot;
      wants[row] = wanted ? 1 : state ? 3 : 0;
      targets[row] = kind === "targets" ? (sequence.tokens[position + 1] as number) : -1;
      if (wanted) step.wanted.push({ sequence, position, row, draft: 0 });
      else if (state) hidden++;
    }
    step.spans.push({ sequence, start, rows, hidden });
    step.shape.rows += rows;
  }

  /** Whether the step computes the page that the sequence needs next, so that it can have it from the next step on. */
  computesFor(sequence: Sequence): boolean {
    return this.step.spans.some((span) => computesFor(span, sequence));
  }

  /**
   * The sequence's last token and its draft; a branch for which there is no page is left out, with what hangs on it. False
   * when there are no pages even for the main path; nothing was added then.
   */
  addDraft(sequence: Sequence, draft: DraftRows): boolean {
    const start = sequence.computed;
    const { branches, depths } = draft;
    if (!this.tables_.grow(sequence, sequence.length + (depths[branches.lastIndexOf(0)] as number))) return false;
    const first = this.step.shape.rows;
    const rowOf: number[] = [];
    let table = sequence.slot;
    for (let i = 0; i < draft.count; i++) {
      if (i > 0 && branches[i] !== branches[i - 1]) table = this.openBranch(sequence, draft, i, rowOf);
      rowOf.push(table < 0 ? -1 : this.step.shape.rows);
      if (table >= 0) this.addDraftRow(sequence, table, i);
    }
    this.step.spans.push({ sequence, start, rows: this.step.shape.rows - first, hidden: 0 });
    return true;
  }

  /** The table of the branch that begins with row `i` of the draft; -1: it cannot run. */
  private openBranch(sequence: Sequence, draft: DraftRows, i: number, rowOf: readonly number[]): number {
    const parent = draft.parents[i] as number;
    if ((rowOf[parent] as number) < 0) return -1;
    const number = draft.branches[i] as number;
    const deepest = draft.depths[draft.branches.lastIndexOf(number)] as number;
    const table = this.branches.open(sequence, number, deepest);
    if (table < 0) return table;
    this.arrays.exactUntil[table] = sequence.exactUntil;
    this.arrays.coreSlots[table] = this.arrays.coreSlots[sequence.slot] as number;
    this.branches.mirror(sequence, table, parent, rowOf);
    return table;
  }

  private addDraftRow(sequence: Sequence, table: number, draft: number): void {
    const { tokens, positions, sequences, wants, targets } = this.arrays;
    const { tokens: drafted, depths } = sequence.draft as DraftRows;
    const row = this.step.shape.rows++;
    const position = sequence.computed + (depths[draft] as number);
    tokens[row] = drafted[draft] as number;
    positions[row] = position;
    sequences[row] = table;
    wants[row] = 1;
    targets[row] = -1;
    this.step.wanted.push({ sequence, position, row, draft });
  }
}

function computesFor({ sequence: other, start, rows }: Step["spans"][number], sequence: Sequence): boolean {
  if (!other.usesCache || !sequence.usesCache || other.namespace !== sequence.namespace) return false;
  const begin = sequence.cachedPages * pagePositions;
  const end = begin + pagePositions;
  if (end > sequence.cacheable || end > other.sharedUntil || start > end || start + rows < end) return false;
  for (let i = 0; i < end; i++) if (other.tokens[i] !== sequence.tokens[i]) return false;
  return true;
}
