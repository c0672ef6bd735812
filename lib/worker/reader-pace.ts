/** Pauses a sequence whose reader is too far behind, and lets one go on whose reader has caught up. */
import { limits } from "../limits.js";
import type { Scheduler, Sequence } from "../scheduler/index.js";
import { slotIndex, slotWord } from "./control.js";

export class ReaderPace {
  constructor(
    private readonly scheduler_: Scheduler,
    private readonly control_: Int32Array,
  ) {}

  /** `sent`: tokens of the parts that the request in `slot` has sent. */
  keep(sequence: Sequence, slot: number, sent: number): void {
    const unread = (): number => sent - Atomics.load(this.control_, slotIndex(slot, slotWord.consumed));
    const isUnbounded = (): boolean => Atomics.load(this.control_, slotIndex(slot, slotWord.unbounded)) !== 0;
    if (!sequence.paused) {
      if (unread() <= limits.maxUnreadTokens || isUnbounded()) return;
      // The flag goes up before the last look at the counter: either we see what main took, or main sees the flag.
      this.setPaused(sequence, slot, true);
    }
    if (unread() <= limits.maxUnreadTokens / 2 || isUnbounded()) this.setPaused(sequence, slot, false);
  }

  private setPaused(sequence: Sequence, slot: number, paused: boolean): void {
    Atomics.store(this.control_, slotIndex(slot, slotWord.paused), paused ? 1 : 0);
    this.scheduler_.setPaused(sequence.id, paused);
  }
}
