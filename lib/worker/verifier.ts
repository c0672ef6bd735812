/**
 * From a step's rows to the tokens of a generating sequence. Its own row gives one token; where the draft has that token
 * next, its row has run too and gives another, and so on. Every token is picked as it would be without a draft, from the
 * same logits and random number: a draft only says which rows have run already.
 */
import type { StepArrays } from "../binding/native.js";
import type { Scheduler, Sequence, Step } from "../scheduler/index.js";
import { childRow } from "../speculation/index.js";
import type { FinishReason } from "../types.js";
import type { Drafting } from "./drafting.js";
import type { Generation } from "./generation.js";
import type { StepRows } from "./step-rows.js";

export class Verifier {
  constructor(
    private readonly scheduler_: Scheduler,
    private readonly rows_: StepRows,
    private readonly drafting_: Drafting | undefined,
  ) {}

  /** `first`: the sequence's own row among the wanted ones. Returns why the request ends, or null. @throws E_NONFINITE */
  verify(sequence: Sequence, work: Generation, step: Step, first: number): FinishReason | null {
    const { arrays } = this.scheduler_;
    const ran = this.findRows(sequence, step, first);
    const { draft } = sequence;
    this.observe(sequence, step, ran, arrays);
    const picked: number[] = [];
    let end: FinishReason | null = null;
    for (let row = 0; row >= 0; ) {
      const w = ran.get(row) as number;
      const position = (step.wanted[w] as Step["wanted"][number]).position + 1;
      const token = work.accept(this.rows_.candidatesOf(work, step, w), arrays.logSumExp[w] as number, position);
      if (token !== null) picked.push(token);
      if (token === null) end = work.finishReason ?? "stop";
      else if (!this.scheduler_.append(sequence, token)) end = "length";
      if (token === null || end !== null || draft === null) break;
      const next = childRow(draft, row, token);
      if (!ran.has(next)) break;
      this.scheduler_.accept(sequence, next);
      row = next;
    }
    this.drafting_?.accept(sequence, [...ran.keys()], picked);
    return end;
  }

  /** Where the step's answers for the sequence are, by row of its draft. */
  private findRows(sequence: Sequence, step: Step, first: number): Map<number, number> {
    const ran = new Map<number, number>();
    for (let w = first; w < step.wanted.length && step.wanted[w]?.sequence === sequence; w++) {
      ran.set((step.wanted[w] as Step["wanted"][number]).draft, w);
    }
    return ran;
  }

  private observe(sequence: Sequence, { shape, wanted }: Step, ran: Map<number, number>, arrays: StepArrays): void {
    if (this.drafting_ === undefined) return;
    for (const [draft, w] of ran) {
      const token = arrays.tokens[(wanted[w] as Step["wanted"][number]).row] as number;
      const depth = sequence.draft?.depths[draft] ?? 0;
      this.drafting_.observe(sequence, arrays, shape.k, { w, token, depth });
    }
  }
}
