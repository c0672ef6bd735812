/**
 * How products with each kind of weights are made: which weights become tiles, whose products are looked up. For "auto"
 * both forms of each kind of product are timed on this machine, where nobody has before; they give the same bits.
 */
import type { LutTables, NativeBinding, NativeTensor } from "../binding/native.js";
import { createError } from "../errors.js";
import type { MatmulForm, MatmulInfo, MatmulTimes } from "../types.js";
import { header } from "./control.js";
import type { EngineTask } from "./protocol.js";

/** Rows of a step: one sequence, two, and four (the most that are looked up), or one and its drafts. */
const columns = Int32Array.of(1, 2, 4);
/** Products of smaller weights are a small part of any step: they stay multiply-adds. */
const minBytes = 64 << 10;
/** A file may claim any shape; what is no model is refused later, by who loads it. */
const maxSize = 1 << 24;
/** Of its time by multiply-adds, what a product must save to be looked up: less is noise. */
const margin = 0.03;

/** Weights of one type and shape. */
type Kind = Pick<MatmulForm, "type" | "rows" | "cols">;

/** As native code names a kind of weights, too. */
export function nameKind({ type, rows, cols }: Kind): string {
  return `${type} ${rows}x${cols}`;
}

/** As `modelAcquire` takes them. */
export function tilesOf(matmul: MatmulInfo): string[] {
  if (matmul.type === "lut") return ["all"];
  if (matmul.type === "dot") return [];
  return matmul.forms.filter(({ kernel }) => kernel === "lut").map(nameKind);
}

export function tablesOf(matmul: MatmulInfo): LutTables {
  return matmul.type === "lut" ? matmul.tables : "exact";
}

/** "auto" with a form for each kind of the model's matrices that can be looked up: those given, and those measured now. */
export function settleMatmul(
  binding: NativeBinding,
  { matmul, path, isa, threads, control }: Pick<EngineTask, "matmul" | "path" | "isa" | "threads" | "control">,
): MatmulInfo {
  if (matmul.type !== "auto") return matmul;
  const known = new Map(matmul.forms.map((form) => [nameKind(form), form]));
  const forms: MatmulForm[] = [];
  for (const kind of kindsOf(binding.inspectFile(path).tensors)) {
    let form = known.get(nameKind(kind));
    if (form === undefined) {
      if (Atomics.load(control, header.stop) !== 0) throw createError("ABORTED", "loading was aborted");
      const { type, rows, cols } = kind;
      const seconds = binding.probeProducts(type, rows, cols, columns, { isa, threads });
      if (seconds.length === 0) continue; // no tables for its type, or no room to measure them
      form = chooseForm({ ...kind, times: toTimes(seconds) });
    }
    forms.push(form);
  }
  return { type: "auto", forms };
}

/** The form that takes less time a row, over the measured numbers of rows: every row of a step is a token of somebody. */
export function chooseForm(measured: Omit<MatmulForm, "kernel">): MatmulForm {
  const sum = (of: (times: MatmulTimes) => number): number =>
    measured.times.reduce((total, times) => total + of(times) / times.columns, 0);
  const isFaster = sum(({ lutUs }) => lutUs) < (1 - margin) * sum(({ dotUs }) => dotUs);
  return { ...measured, kernel: isFaster ? "lut" : "dot" };
}

function toTimes(seconds: Float64Array): MatmulTimes[] {
  return Array.from(columns, (n, i) => ({
    columns: n,
    dotUs: 1e6 * (seconds[2 * i] as number),
    lutUs: 1e6 * (seconds[2 * i + 1] as number),
  }));
}

/** Matrices of the model's products, one of each type and shape. */
function kindsOf(tensors: NativeTensor[]): Kind[] {
  const hasHead = tensors.some(({ name }) => name === "output.weight");
  const kinds = new Map<string, Kind>();
  for (const { name, type, shape, sizeBytes, supported } of tensors) {
    const [cols, rows] = shape;
    const isGathered = name === "token_embd.weight" && hasHead; // its rows are read one by one
    if (!supported || shape.length !== 2 || sizeBytes < minBytes || isGathered) continue;
    if (cols === undefined || rows === undefined || Math.max(rows, cols) > maxSize) continue;
    const kind = { type, rows, cols };
    kinds.set(nameKind(kind), kind);
  }
  return [...kinds.values()];
}
