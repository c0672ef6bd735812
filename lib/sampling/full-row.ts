/**
 * A full row of logits as candidates, for the rare cases where 256 do not decide the chain (`needsFullRow`): the row,
 * with biases applied, is sorted by descending logit, ties by lowest id, exactly as native code sorts. O(V log V).
 */
import type { Candidates } from "./chain.js";

/** Ids fit in 21 bits beside the 32 of a logit in the 53 of a double. */
const maxVocab = 1 << 21;

let keys = new Float64Array(0);
const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** Larger for a smaller logit; ±0 are one value; NaN sorts after −Infinity. */
function descendingRank(logit: number): number {
  if (Number.isNaN(logit)) return 0xffffffff;
  float[0] = logit + 0;
  const raw = bits[0] as number;
  return raw < 0 ? raw >>> 0 : 0x7fffffff - raw;
}

/**
 * Sorts `row` into `out` (arrays are replaced when too small) and returns it. Tokens at −Infinity or NaN stay at the end.
 */
export function sortFullRow(row: Float32Array, out: Candidates): Candidates {
  const n = row.length;
  if (n > maxVocab) throw new RangeError(`a row of ${n} logits; at most ${maxVocab} are supported`);
  if (keys.length < n) keys = new Float64Array(n);
  for (let id = 0; id < n; id++) keys[id] = descendingRank(row[id] as number) * maxVocab + id;
  const sorted = keys.subarray(0, n).sort();
  if (out.ids.length < n) out.ids = new Int32Array(n);
  if (out.logits.length < n) out.logits = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const id = (sorted[i] as number) % maxVocab;
    out.ids[i] = id;
    out.logits[i] = row[id] as number;
  }
  out.offset = 0;
  out.count = n;
  out.vocabSize = n;
  return out;
}

/** Room for full rows; grows on use. */
export function createCandidates(capacity = 0): Candidates {
  return { ids: new Int32Array(capacity), logits: new Float32Array(capacity), offset: 0, count: 0, vocabSize: 0 };
}
