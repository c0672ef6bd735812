/**
 * The task of a thread of its own: writes a model file with its tensors in other types, in one step (files/replace-file.ts).
 * One stretch of a tensor is in memory at a time; between two of them the task looks whether it has to stop.
 */
import type { FileHandle } from "node:fs/promises";
import { getBinding } from "../binding/index.js";
import type { NativeBinding } from "../binding/native.js";
import { createError } from "../errors.js";
import { replaceFile, writeAll } from "../files/index.js";
import { outputFileError } from "./output-file.js";

export interface ConversionTask {
  source: string;
  /** Absolute. */
  output: string;
  /** As the plan has them. */
  types: Int32Array;
  elements: number[];
  fileType: number;
  threads: number;
  /** On shared memory: [0] is not 0 when the task has to stop. */
  stop: Int32Array;
  /** On shared memory: [0] is how many elements are done. */
  progress: Float64Array;
}

export type ConversionReply =
  /** Relative root mean square error of each tensor. */
  { ok: true; sizeBytes: number; errors: Float64Array } | { ok: false; error: { code: string; message: string } };

/** A multiple of the native unit; at most 4 bytes each. */
const stretchElements = 1 << 20;

const replacement = { suffix: "gguf", mode: 0o644 };

export default async function runConversion(task: ConversionTask): Promise<ConversionReply> {
  try {
    const binding = getBinding();
    const handle = binding.conversionOpen(task.source, task.types, task.fileType, task.threads);
    try {
      const writer = new ConversionWriter(binding, handle, task);
      await replaceFile(task.output, replacement, (file) => writer.write(file));
      return { ok: true, sizeBytes: writer.sizeBytes, errors: writer.errors };
    } finally {
      binding.conversionRelease(handle);
    }
  } catch (thrown) {
    const { code, message } = outputFileError(task.output, thrown);
    return { ok: false, error: { code, message } };
  }
}

class ConversionWriter {
  readonly errors: Float64Array;
  readonly sizeBytes: number;
  private readonly binding_: NativeBinding;
  private readonly handle_: number;
  private readonly task_: ConversionTask;
  private readonly offsets_: number[];
  private readonly buffer_ = new Uint8Array(4 * stretchElements);

  constructor(binding: NativeBinding, handle: number, task: ConversionTask) {
    this.binding_ = binding;
    this.handle_ = handle;
    this.task_ = task;
    this.offsets_ = binding.conversionOffsets(handle);
    this.errors = new Float64Array(task.elements.length);
    this.sizeBytes = this.offsets_.at(-1) as number;
  }

  async write(file: FileHandle): Promise<void> {
    await writeAll(file, this.binding_.conversionHeader(this.handle_), 0);
    for (const [i, elements] of this.task_.elements.entries()) await this.writeTensor(file, i, elements);
    // The padding after the last tensor.
    await file.truncate(this.sizeBytes);
    this.binding_.conversionCheck(this.handle_);
  }

  private async writeTensor(file: FileHandle, tensor: number, elements: number): Promise<void> {
    const sums = new Float64Array(2);
    let position = this.offsets_[tensor] as number;
    for (let first = 0; first < elements; first += stretchElements) {
      if (Atomics.load(this.task_.stop, 0) !== 0) throw createError("ABORTED", "the quantisation was aborted");
      const count = Math.min(stretchElements, elements - first);
      const size = this.binding_.conversionConvert(this.handle_, tensor, first, count, this.buffer_, sums);
      await writeAll(file, this.buffer_.subarray(0, size), position);
      position += size;
      this.task_.progress[0] = (this.task_.progress[0] as number) + count;
    }
    const [errorSquares, squares] = sums as unknown as [number, number];
    this.errors[tensor] = squares > 0 ? Math.sqrt(errorSquares / squares) : 0;
  }
}
