/**
 * From a step's rows to the tokens of a generating sequence. Its own row gives one token; where the draft has that token
 * next, its row has run too and gives another, and so on. Every token is picked as it would be without a draft, from the
 * same logits and random number: a draft only says which rows have run already.
 */
import type { Scheduler, Sequence, Step } from "../../scheduler/index.js";
import { childRow } from "../../speculation/index.js";
import type { FinishReason } from "../../types.js";
import type { Drafting } from "./drafting.js";
import type { Generation } from "../generation.js";
import type { StepRows } from "../step-rows.js";

export class Verifier {
  constructor(
    private readonly scheduler_: Scheduler,
    private readonly rows_: StepRows,
    private readonly drafting_: Drafting | undefined,
  ) {}

  /** `first`: the sequence's own row among the wanted ones. Returns why the request ends, or null. @throws E_NONFINITE */
  verify(sequence: Sequence, work: Generation, step: Step, first: number): FinishReason | null {
    const { draft } = sequence;
    const ran = this.findRows(sequence, step, first);
    this.observe(sequence, step, ran);
    const picked: number[] = [];
    let end: FinishReason | null = null;
    for (let row = 0; row >= 0; ) {
      const token = this.pick(work, step, ran[row] as number);
      if (token === null) end = work.finishReason ?? "stop";
      else {
        picked.push(token);
        if (!this.scheduler_.append(sequence, token)) end = "length";
      }
      row = token === null || end !== null || draft === null ? -1 : childRow(draft, row, token);
      if (row < 0 || ran[row] === undefined) break;
      this.scheduler_.accept(sequence, row);
    }
    this.drafting_?.accept(sequence, ran, picked);
    return end;
  }

  private pick(work: Generation, step: Step, w: number): number | null {
    const { position, row } = step.wanted[w] as Step["wanted"][number];
    const { arrays } = this.scheduler_;
    const logSumExp = arrays.logSumExp[w] as number;
    work.attention.add(arrays, row);
    work.sparsity.add(arrays, row);
    return work.accept(this.rows_.candidatesOf(work, step, w), logSumExp, position + 1);
  }

  /** Where the step's answers for the sequence are, by row of its draft; rows that did not run are left out. */
  private findRows(sequence: Sequence, step: Step, first: number): number[] {
    const ran: number[] = [first];
    if (sequence.draft === null) return ran;
    for (let w = first + 1; w < step.wanted.length && step.wanted[w]?.sequence === sequence; w++) {
      ran[(step.wanted[w] as Step["wanted"][number]).draft] = w;
    }
    return ran;
  }

  private observe(sequence: Sequence, { shape, wanted }: Step, ran: readonly number[]): void {
    if (this.drafting_?.learnsFromRows !== true) return;
    const { arrays } = this.scheduler_;
    ran.forEach((w, row) => {
      const token = arrays.tokens[(wanted[w] as Step["wanted"][number]).row] as number;
      const depth = sequence.draft?.depths[row] ?? 0;
      this.drafting_?.observe(sequence, arrays, shape.k, { w, token, depth });
    });
  }
}
