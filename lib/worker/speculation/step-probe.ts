/**
 * Measures what steps of 1, 2, … rows take, while nobody wants anything: the first requests then speculate by what was
 * measured, not by a guess. Rows of token 0 run on pages that belong to nobody yet; whatever they leave there is written
 * before it is read.
 */
import { performance } from "node:perf_hooks";
import type { NativeBinding } from "../../binding/native.js";
import type { Scheduler } from "../../scheduler/index.js";

const widths = [1, 2, 3, 4, 6, 8, 12, 16];
/** Rows of the first positions read whole weights where others do not. */
const firstPosition = 4;
/** Position of a row that measures what attention adds. */
const depth = 2047;
const budgetMs = 250;

/** One measurement a call; false when there is nothing left to measure. */
export class StepProbe {
  private readonly startMs_ = performance.now();
  private readonly runs_: { rows: number; position: number }[];
  private readonly best_ = new Map<number, number>();

  constructor(
    private readonly binding_: NativeBinding,
    private readonly engine_: number,
    private readonly scheduler_: Scheduler,
    contextSize: number,
  ) {
    // The first run of all touches memory that later ones find; so does the first of a width.
    this.runs_ = [1, ...widths.flatMap((rows) => [rows, rows])].map((rows) => ({ rows, position: firstPosition }));
    if (contextSize > depth) for (let i = 0; i < 2; i++) this.runs_.splice(3, 0, { rows: 1, position: depth });
  }

  run(): boolean {
    const next = this.runs_.shift();
    if (next === undefined || performance.now() - this.startMs_ > budgetMs) return false;
    const key = next.position === depth ? 0 : next.rows;
    this.best_.set(key, Math.min(this.best_.get(key) ?? Infinity, this.time(next.rows, next.position)));
    return true;
  }

  /** What was measured so far is learnt. */
  report(): void {
    const { curve } = this.scheduler_;
    const [deep, flat] = [this.best_.get(0), this.best_.get(1)];
    if (deep !== undefined && flat !== undefined) curve.observeDepth(depth, deep - flat);
    for (const rows of widths) curve.observe(rows, this.best_.get(rows) ?? 0, 0);
  }

  private time(rows: number, position: number): number {
    const { arrays, pageStride } = this.scheduler_;
    const sequences = arrays.sequenceAborts.length;
    for (let row = 0; row < rows; row++) {
      arrays.tokens[row] = 0;
      arrays.positions[row] = position + row;
      arrays.sequences[row] = 0;
      arrays.wants[row] = 2;
      arrays.targets[row] = -1;
    }
    arrays.biasOffsets.fill(0, 0, rows + 1);
    const table = arrays.pageTables.subarray(0, pageStride);
    table.fill(0);
    const started = performance.now();
    try {
      this.binding_.engineStep(this.engine_, { rows, sequences, pageStride, k: 1, mirrors: 0 }, arrays);
    } finally {
      table.fill(-1);
    }
    return performance.now() - started;
  }
}
