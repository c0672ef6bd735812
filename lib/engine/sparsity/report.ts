/** How results name activation sparsity, and what it did. */
import type { FfnSparsityInfo, SparsityStats } from "../../types.js";

/** `wina 0.60`; undefined where layers read whole weights. */
export function nameSparsity(info: FfnSparsityInfo): string | undefined {
  return info === false ? undefined : `${info.type} ${info.keep.toFixed(2)}`;
}

/** `approximations` of a result; `stats` of rows that were to be sparse, if there were any. */
export function describeSparsity(info: FfnSparsityInfo, stats: SparsityStats | undefined): string[] {
  // Without bytes no token was sparse: the guard kept all of them dense.
  if (info === false || stats === undefined || stats.bytesPerToken === 0) return [];
  const kept = `${(100 * stats.kept).toFixed(1)} % of channels kept`;
  return [`ffn-sparsity ${info.type}: ${kept}, ${(stats.bytesPerToken / 1e6).toFixed(1)} MB of weights a token`];
}

/** `warnings` of a model; `missing` of its engine: tensors that are read whole for `option`. */
export function warnOfColumns(missing: readonly string[], option = "ffnSparsity"): string[] {
  if (missing.length === 0) return [];
  return [`${option}: no columns of ${missing.join(", ")}: channels are left out, and the weights read whole`];
}
