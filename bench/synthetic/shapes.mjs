/** Shapes of known models, and the tensors a llama model of a shape has, in the order they are written. */

/** Sizes of Llama 3.2 1B (tied head) and Llama 2 7B. */
export const shapes = {
  "1b": { layers: 16, dim: 2048, heads: 32, kvHeads: 8, hidden: 8192, vocab: 128256, tied: true, ropeBase: 500000 },
  "7b": { layers: 32, dim: 4096, heads: 32, kvHeads: 32, hidden: 11008, vocab: 32000, tied: false, ropeBase: 10000 },
};

const matrix = (name, cols, rows, gain = 1) => ({ name, shape: [cols, rows], sigma: gain / Math.sqrt(cols) });
const norm = (name, size) => ({ name, shape: [size] });

/**
 * { name, shape, sigma }: shape[0] is the row length; a tensor without a sigma is a norm's vector around 1. A product
 * with a normalised row then has about unit variance, so activations stay finite through any number of layers.
 */
export function tensorsOf({ layers, dim, heads, kvHeads, hidden, vocab, tied }) {
  const kvDim = (dim / heads) * kvHeads;
  const tensors = [matrix("token_embd.weight", dim, vocab, 4)];
  for (let layer = 0; layer < layers; layer++) {
    const name = (part) => `blk.${layer}.${part}.weight`;
    tensors.push(
      norm(name("attn_norm"), dim),
      matrix(name("attn_q"), dim, dim),
      matrix(name("attn_k"), dim, kvDim),
      matrix(name("attn_v"), dim, kvDim),
      matrix(name("attn_output"), dim, dim),
      norm(name("ffn_norm"), dim),
      matrix(name("ffn_gate"), dim, hidden),
      matrix(name("ffn_up"), dim, hidden),
      matrix(name("ffn_down"), hidden, dim),
    );
  }
  tensors.push(norm("output_norm.weight", dim));
  if (!tied) tensors.push(matrix("output.weight", dim, vocab, 3));
  return tensors;
}
