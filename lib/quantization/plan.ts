/**
 * Which type each tensor gets. Matrices get the type asked for; the embedding and the output, where errors cost most, types
 * of their own. Everything else stays as it is: what has one dimension, what is tiny, routers, positions and norms.
 */
import type { NativeFile, NativeTensor } from "../binding/native.js";
import { createError } from "../errors.js";
import type { TargetType } from "./options.js";
import { bitsPerWeight, fittingType, targetTypes } from "./target-types.js";

export interface PlanOptions {
  type: TargetType;
  outputType: TargetType | undefined;
  embeddingType: TargetType | undefined;
}

export interface PlannedTensor {
  name: string;
  shape: number[];
  elements: number;
  from: string;
  /** As GGUF spells it. */
  to: string;
  sourceBytes: number;
  bytes: number;
}

export interface Plan {
  tensors: PlannedTensor[];
  /** GGUF ids, in the order of `tensors`. */
  types: Int32Array;
  fileType: number;
  warnings: string[];
}

/** Of the embedding and the output, unless the type asked for is finer. */
const fineType = "q6_k";
const tinyElements = 1024;
const keptNames = /(_norm|ffn_gate_inp|position_embd|token_types|rope_freqs)\.weight$/;
/** Types that lose so little that nothing is said of it. */
const finePattern = /^(F32|F16|BF16|Q8_0)$/;

/** @throws UnsupportedModelError: MODEL_NO_WEIGHTS, MODEL_UNSUPPORTED_TYPE */
export function planTypes(file: NativeFile, options: PlanOptions): Plan {
  if (file.tensors.length === 0) {
    throw createError("MODEL_NO_WEIGHTS", "tensors: expected weights to quantise, found a vocabulary only");
  }
  const wanted = file.tensors.map((tensor) => wantedType(tensor, options));
  const fitting = wanted.map((type, i) => type && fittingType(type, rowLength(file.tensors[i] as NativeTensor)));
  const tensors = file.tensors.map((tensor, i) => planTensor(tensor, fitting[i]));
  return {
    tensors,
    types: Int32Array.from(file.tensors, ({ typeId }, i) => {
      const type = fitting[i];
      return type === undefined ? typeId : targetTypes[type].id;
    }),
    fileType: targetTypes[options.type].fileType,
    warnings: [...fallbackWarnings(wanted, fitting), ...sourceWarnings(tensors)],
  };
}

function rowLength({ shape }: NativeTensor): number {
  return shape[0] as number;
}

function elementsOf({ shape }: NativeTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Undefined: the tensor stays as it is. */
function wantedType(tensor: NativeTensor, options: PlanOptions): TargetType | undefined {
  const { name, shape } = tensor;
  if (shape.length < 2 || !name.endsWith(".weight") || keptNames.test(name)) return undefined;
  if (elementsOf(tensor) < tinyElements) return undefined;
  const fine = bitsPerWeight(options.type) > bitsPerWeight(fineType) ? options.type : fineType;
  if (name === "output.weight") return options.outputType ?? fine;
  if (name === "token_embd.weight") return options.embeddingType ?? fine;
  return options.type;
}

function planTensor(tensor: NativeTensor, type: TargetType | undefined): PlannedTensor {
  const { name, shape, type: from, sizeBytes } = tensor;
  const elements = elementsOf(tensor);
  const to = type?.toUpperCase() ?? from;
  const bytes = type === undefined ? sizeBytes : (elements / targetTypes[type].block) * targetTypes[type].bytes;
  return { name, shape, elements, from, to, sourceBytes: sizeBytes, bytes };
}

function fallbackWarnings(wanted: (TargetType | undefined)[], fitting: (TargetType | undefined)[]): string[] {
  const counts = new Map<string, number>();
  for (const [i, type] of wanted.entries()) {
    if (type === undefined || type === fitting[i]) continue;
    const reason = `rows that are not whole blocks of ${type}: written as ${fitting[i]}`;
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => `${count} ${count === 1 ? "tensor has" : "tensors have"} ${reason}`);
}

function sourceWarnings(tensors: PlannedTensor[]): string[] {
  const coarse = tensors.filter(({ from, to }) => from !== to && !finePattern.test(from)).map(({ from }) => from);
  if (coarse.length === 0) return [];
  const found = [...new Set(coarse)].join(", ");
  return [
    `${coarse.length} ${coarse.length === 1 ? "tensor is" : "tensors are"} quantised already (${found}): what that lost is lost, and this adds to it; a source in F32, F16, BF16 or Q8_0 gives a better model`,
  ];
}
