/** What quantizeModel() takes and gives. */
import type { LoadOptions } from "../types.js";

/** Types of weights that can be written, as GGUF spells them, in small letters. */
export type TargetType =
  | "f32"
  | "f16"
  | "bf16"
  | "q8_0"
  | "q6_k"
  | "q5_k"
  | "q5_1"
  | "q5_0"
  | "q4_k"
  | "q4_1"
  | "q4_0"
  | "iq4_nl"
  | "iq4_xs"
  | "q3_k"
  | "q2_k"
  | "mxfp4"
  | "tq2_0"
  | "tq1_0";

export interface QuantizeOptions {
  /** Of the matrices. Rows that are not whole blocks of it get a similar type with smaller ones; the result's table says so. */
  type: TargetType;
  /** Of output.weight; default: q6_k, or `type` where that is finer. */
  outputType?: TargetType;
  /** Of token_embd.weight, which many models use as the output too; default: as for `outputType`. */
  embeddingType?: TargetType;
  /** Replace a file that exists, in one step; default false. */
  overwrite?: boolean;
  threads?: number;
  onProgress?: (progress: { doneWeights: number; totalWeights: number }) => void;
  onPullProgress?: LoadOptions["onPullProgress"];
  offline?: boolean;
  signal?: AbortSignal;
}

export interface QuantizedTensor {
  name: string;
  /** shape[0] is the row length. */
  shape: number[];
  /** Types as GGUF spells them; the same one where the tensor was copied. */
  from: string;
  to: string;
  sourceBytes: number;
  bytes: number;
  /** Root mean square of the difference to the source's values, divided by that of the values. */
  error: number;
}

export interface QuantizeResult {
  file: string;
  type: TargetType;
  sourceBytes: number;
  sizeBytes: number;
  tensors: QuantizedTensor[];
  warnings: string[];
  ms: number;
}
