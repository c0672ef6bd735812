/** What the rows of a comparison say, over all of them and by the position they stand at. */
import type { PerplexityBucket, PerplexityComparison } from "../types.js";
import { AttentionTally, type ComparedRows, SparsityTally } from "../worker/index.js";

/** Short contexts hide what an approximation of attention costs. */
const bucketStarts = [0, 1024, 4096, 8192];

export function summarizeComparison(rows: ComparedRows): PerplexityComparison {
  const { pplAgainst: ppl, klMean, klP99, top1Agreement, attention, sparsity } = summarize(rows, 0, Infinity);
  const buckets = bucketStarts.map((from, i) => summarize(rows, from, bucketStarts[i + 1] ?? Infinity));
  const { positions, exactLogprobs: logprobs, kl, tops, exactTops } = rows;
  return {
    ppl,
    klMean,
    klP99,
    top1Agreement,
    ...(attention && { attention }),
    ...(sparsity && { sparsity }),
    buckets: buckets.filter(({ tokens }) => tokens > 0),
    rows: { positions, logprobs, kl, tops, exactTops },
  };
}

/** Of tokens at positions in [from, to). */
function summarize(rows: ComparedRows, from: number, to: number): PerplexityBucket {
  const chosen = [...rows.positions.entries()].flatMap(([row, at]) => (at >= from && at < to ? [row] : []));
  const mean = (values: ArrayLike<number>): number =>
    chosen.reduce((sum, row) => sum + (values[row] as number), 0) / chosen.length;
  const tallies = { attention: new AttentionTally(), sparsity: new SparsityTally() };
  for (const row of chosen) for (const tally of Object.values(tallies)) tally.add(rows, row);
  const [attention, sparsity] = [tallies.attention.summary(), tallies.sparsity.summary()];
  return {
    from,
    to,
    tokens: chosen.length,
    ppl: Math.exp(-mean(rows.logprobs)),
    pplAgainst: Math.exp(-mean(rows.exactLogprobs)),
    klMean: mean(rows.kl),
    klP99: percentile(Float64Array.from(chosen, (row) => rows.kl[row] as number).sort(), 0.99),
    top1Agreement: chosen.filter((row) => rows.tops[row] === rows.exactTops[row]).length / chosen.length,
    ...(attention && { attention }),
    ...(sparsity && { sparsity }),
  };
}

/** The least of the values that this share of them does not exceed. */
function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
}
