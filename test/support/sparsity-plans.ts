/** Activation sparsity of two layers, as the binding takes it. */
import type { NativeSparsity } from "../../dist/esm/binding/native.js";

export const nLayers = 2;

/** A share for the input of q, k and v; of the output projection; of gate and up; of down, in every layer. */
export const keepsOf = (...shares: [number, number, number, number]): Float32Array =>
  Float32Array.from({ length: nLayers * 4 }, (_, at) => shares[at % 4] as number);

export const plan = (given: Partial<NativeSparsity>): NativeSparsity => ({
  keeps: keepsOf(0.5, 0.4, 0.5, 0.4),
  selection: "topk",
  norms: "none",
  hidden: "magnitude",
  ...given,
});

export const corePlan = (keep: number): NativeSparsity =>
  plan({ keeps: keepsOf(1, 1, 1, keep), hidden: "core", core: { tokenShare: 0.4, guard: 0 } });
