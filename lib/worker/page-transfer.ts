/** Whole K/V pages on their way: copied within the cache, out to a session's file, and in from one. */
import type { NativeBinding } from "../binding/native.js";
import { createError } from "../errors.js";
import { pagePositions } from "../limits.js";
import type { Scheduler, Sequence } from "../scheduler/index.js";
import type { ToWorker } from "./protocol.js";

export class PageTransfer {
  constructor(
    private readonly scheduler_: Scheduler,
    private readonly binding_: NativeBinding,
    private readonly engine_: number,
    private readonly pageBytes_: number,
  ) {}

  /** Makes the copies that the scheduler asks for; due before anything else reads or writes pages. */
  copy(): void {
    const copies = this.scheduler_.takeCopies();
    if (copies.length > 0) this.binding_.engineCopyPages(this.engine_, copies);
  }

  /** The bytes of a sequence's pages, in order of its positions. */
  read(sequence: Sequence): Uint8Array<ArrayBuffer> {
    this.copy();
    const pages = this.scheduler_.pagesOf(sequence);
    const bytes = new Uint8Array(pages.length * this.pageBytes_);
    this.binding_.engineReadPages(this.engine_, pages, sequence.computed, bytes);
    return bytes;
  }

  /** Takes in what read() gave elsewhere, as far as pages can be had; the rest is computed again when it is needed. */
  write({ tokens, computed, pages: bytes, namespace }: Extract<ToWorker, { type: "import" }>): void {
    const count = bytes.length / this.pageBytes_;
    if (!Number.isInteger(count) || computed > tokens.length || computed > count * pagePositions) {
      throw createError("INTERNAL", `import: ${computed} of ${tokens.length} tokens in ${bytes.length} bytes of pages`);
    }
    this.copy();
    const pages = this.scheduler_.reserve(Math.ceil(computed / pagePositions));
    this.binding_.engineWritePages(this.engine_, pages, bytes.subarray(0, pages.length * this.pageBytes_));
    this.scheduler_.keep(namespace, tokens, computed, pages);
  }
}
