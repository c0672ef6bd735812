/** Tensors whose channels are masked, and that have no columns all the same: their type has none, so they are read whole. */
import type { NativeBinding } from "../../binding/native.js";

type Tensor = Pick<ReturnType<NativeBinding["modelTensors"]>[number], "name" | "type" | "columnBytes">;

/** `ffn_down (F32, 30 layers)` of each name and type. */
export function missingColumns(tensors: readonly Tensor[], columns: readonly string[]): string[] {
  const layers = new Map<string, number>();
  for (const { name, type, columnBytes } of tensors) {
    const part = /^blk\.\d+\.(\w+)\.weight$/.exec(name)?.[1];
    if (part === undefined || columnBytes > 0 || !columns.includes(part)) continue;
    const kind = `${part} (${type}`;
    layers.set(kind, (layers.get(kind) ?? 0) + 1);
  }
  return [...layers].map(([kind, count]) => `${kind}, ${count} ${count === 1 ? "layer" : "layers"})`);
}
