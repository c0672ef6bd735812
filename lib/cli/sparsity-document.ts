/** What activation sparsity did, in the shape of `--json`. */
import type { SparsityStats } from "../types.js";

export function sparsityDocument(stats: SparsityStats | undefined): { sparsity?: object } {
  if (stats === undefined) return {};
  const { kept, bytesPerToken, denseTokens, guarded } = stats;
  return { sparsity: { kept, bytes_per_token: bytesPerToken, dense_tokens: denseTokens, guarded } };
}
