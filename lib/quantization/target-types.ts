/** The tensor types that can be written: what the format says of them, and what takes their place in rows that do not fit. */
import { invalidOption } from "../errors.js";
import type { TargetType } from "./options.js";

interface TargetTraits {
  /** As GGUF numbers tensor types. */
  id: number;
  /** Elements of a block, and its bytes. */
  block: number;
  bytes: number;
  /** general.file_type of a file whose matrices are mostly of this type. */
  fileType: number;
  /** For rows that are not whole blocks; types without one have blocks of 1. */
  fallback?: TargetType;
}

export const targetTypes: Record<TargetType, TargetTraits> = {
  f32: { id: 0, block: 1, bytes: 4, fileType: 0 },
  f16: { id: 1, block: 1, bytes: 2, fileType: 1 },
  bf16: { id: 30, block: 1, bytes: 2, fileType: 32 },
  q8_0: { id: 8, block: 32, bytes: 34, fileType: 7, fallback: "f16" },
  q6_k: { id: 14, block: 256, bytes: 210, fileType: 18, fallback: "q8_0" },
  q5_k: { id: 13, block: 256, bytes: 176, fileType: 16, fallback: "q5_1" },
  q5_1: { id: 7, block: 32, bytes: 24, fileType: 9, fallback: "f16" },
  q5_0: { id: 6, block: 32, bytes: 22, fileType: 8, fallback: "f16" },
  q4_k: { id: 12, block: 256, bytes: 144, fileType: 14, fallback: "q5_0" },
  q4_1: { id: 3, block: 32, bytes: 20, fileType: 3, fallback: "f16" },
  q4_0: { id: 2, block: 32, bytes: 18, fileType: 2, fallback: "f16" },
  iq4_nl: { id: 20, block: 32, bytes: 18, fileType: 25, fallback: "f16" },
  iq4_xs: { id: 23, block: 256, bytes: 136, fileType: 30, fallback: "iq4_nl" },
  q3_k: { id: 11, block: 256, bytes: 110, fileType: 11, fallback: "iq4_nl" },
  q2_k: { id: 10, block: 256, bytes: 84, fileType: 10, fallback: "iq4_nl" },
  mxfp4: { id: 39, block: 32, bytes: 17, fileType: 38, fallback: "f16" },
  tq2_0: { id: 35, block: 256, bytes: 66, fileType: 37, fallback: "q4_0" },
  tq1_0: { id: 34, block: 256, bytes: 54, fileType: 36, fallback: "q4_0" },
};

export const targetTypeNames = Object.keys(targetTypes) as TargetType[];

/** A type by its name, in letters of either case. @throws InvalidOptionError */
export function checkTargetType(field: string, value: unknown): TargetType {
  const name = typeof value === "string" ? value.toLowerCase() : "";
  if (Object.hasOwn(targetTypes, name)) return name as TargetType;
  throw invalidOption(field, `one of ${targetTypeNames.join(", ")}`, value);
}

export function bitsPerWeight(type: TargetType): number {
  return (8 * targetTypes[type].bytes) / targetTypes[type].block;
}

/** The type itself, or the first of its fallbacks whose blocks fill rows of this length. */
export function fittingType(type: TargetType, rowLength: number): TargetType {
  const { block, fallback } = targetTypes[type];
  return rowLength % block === 0 || fallback === undefined ? type : fittingType(fallback, rowLength);
}
