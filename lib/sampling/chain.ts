/**
 * The sampler chain on a row's candidates: top-k → typical-p (Meister et al. 2023) → top-p (Holtzman et al. 2020) →
 * min-p (Nguyen et al. 2024) → temperature → pick. Penalties and biases were applied before, natively or by
 * `applyBiases`. Candidates are sorted by descending logit, ties by lowest id, so top-p and min-p keep a prefix.
 *
 * One arithmetic for candidates and for full rows: probabilities are exp(logit − lse) in double, summed in candidate
 * order, with the row's own lse; so whenever the candidates suffice, both ways give the same token for the same seed.
 */
import { createError } from "../errors.js";
import { limits } from "../limits.js";
import type { SamplingParams } from "./params.js";
import { uniform } from "./random.js";

/** A view of one row's candidates: entries [offset, offset + count) of the step's output arrays. */
export interface Candidates {
  ids: Int32Array;
  logits: Float32Array;
  offset: number;
  count: number;
  /** Entries of the whole row; with count = vocabSize the candidates are the row. */
  vocabSize: number;
}

export interface Picked {
  token: number;
  /** Log-softmax at temperature 1 of the row after biases. */
  logprob: number;
}

interface Scratch {
  shifts: Float64Array;
  order: Uint32Array;
}

let scratch: Scratch = { shifts: new Float64Array(0), order: new Uint32Array(0) };

/** How many candidates native code must return for the next token: 1..256. */
export function candidatesNeeded(params: SamplingParams): number {
  const reported = Math.max(1, params.logprobs);
  if (params.temperature === 0) return reported;
  const wanted = params.topK >= 1 && params.topK <= limits.maxCandidates ? params.topK : limits.maxCandidates;
  return Math.max(wanted, reported);
}

/**
 * Whether the request's tokens or its answer depend on the row's log-sum-exp. Without it (some finite number in its
 * place) the same token is picked; native code need not score every token in full then.
 */
export function needsLogSumExp(params: SamplingParams, vocabSize: number): boolean {
  if (params.logprobs >= 0) return true;
  const cut = params.topK >= 1 && params.topK <= limits.maxCandidates && params.topK < vocabSize;
  return params.temperature !== 0 && !cut;
}

/** Leading candidates that are real choices; tokens banned by −Infinity sort last. @throws E_NONFINITE */
function usable(candidates: Candidates, lse: number): number {
  const { logits, offset } = candidates;
  const best = logits[offset];
  if (candidates.count < 1 || best === undefined || !Number.isFinite(best) || !Number.isFinite(lse)) {
    const found = candidates.count < 1 ? "no candidates" : `best logit ${best}, log-sum-exp ${lse}`;
    throw createError("E_NONFINITE", `no token can be picked: the logits of this position are not finite (${found})`);
  }
  let n = 1;
  while (n < candidates.count && (logits[offset + n] as number) > -Infinity) n++;
  return n;
}

/** Leading candidates min-p keeps: logit ≥ best + ln(minP). */
function minPrefix(candidates: Candidates, n: number, minP: number): number {
  if (minP <= 0) return n;
  const { logits, offset } = candidates;
  const floor = (logits[offset] as number) + Math.log(minP);
  let kept = 1;
  while (kept < n && (logits[offset + kept] as number) >= floor) kept++;
  return kept;
}

/** Leading candidates whose mass first reaches `topP`, or n + 1 when all n together stay below it. */
function massPrefix(candidates: Candidates, n: number, topP: number, lse: number): number {
  const { logits, offset } = candidates;
  let mass = 0;
  for (let i = 0; i < n; i++) {
    mass += Math.exp((logits[offset + i] as number) - lse);
    if (mass >= topP) return i + 1;
  }
  return n + 1;
}

/** Whether the chain cannot be decided exactly from the candidates, so the caller must fetch the full row. */
export function needsFullRow(params: SamplingParams, candidates: Candidates, lse: number): boolean {
  if (params.temperature === 0 || candidates.count >= candidates.vocabSize) return false;
  const cut = params.topK > 0 && params.topK < candidates.vocabSize;
  if (cut && params.topK <= candidates.count) return false;
  const n = usable(candidates, lse);
  if (n < candidates.count) return false; // all that is left was banned
  if (params.typicalP < 1) return true; // needs the entropy of the whole distribution
  if (minPrefix(candidates, n, params.minP) < n && (cut ? params.topP >= 1 : true)) return false;
  if (cut || params.topP >= 1) return true; // top-p after a cut needs the mass of the cut
  return massPrefix(candidates, n, params.topP, lse) > n;
}

/** Σ exp(logit − best) over the first n, as a log-sum-exp. */
function logSumExp(candidates: Candidates, n: number): number {
  const { logits, offset } = candidates;
  const best = logits[offset] as number;
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.exp((logits[offset + i] as number) - best);
  return best + Math.log(sum);
}

/**
 * Locally typical sampling: keeps the tokens whose surprise is nearest the entropy until their mass exceeds `typicalP`.
 * Returns the kept count; the kept indices are scratch.order[0..count), ascending.
 */
function typicalSet(candidates: Candidates, n: number, typicalP: number, lse: number): number {
  if (scratch.order.length < n) scratch = { order: new Uint32Array(n), shifts: new Float64Array(n) };
  const { order, shifts } = scratch;
  const { logits, offset } = candidates;
  let entropy = 0;
  for (let i = 0; i < n; i++) {
    const surprise = lse - (logits[offset + i] as number);
    entropy += Math.exp(-surprise) * surprise;
  }
  for (let i = 0; i < n; i++) {
    order[i] = i;
    shifts[i] = Math.abs(lse - (logits[offset + i] as number) - entropy);
  }
  const view = order.subarray(0, n);
  view.sort((a, b) => (shifts[a] as number) - (shifts[b] as number) || a - b);
  let mass = 0;
  let kept = 0;
  while (kept < n) {
    mass += Math.exp((logits[offset + (view[kept++] as number)] as number) - lse);
    if (mass > typicalP) break;
  }
  view.subarray(0, kept).sort();
  return kept;
}

let narrowed: Candidates = { ids: new Int32Array(0), logits: new Float32Array(0), offset: 0, count: 0, vocabSize: 0 };

/** The candidates that typical-p keeps, in a reused copy. */
function narrowToTypical(candidates: Candidates, n: number, typicalP: number, lse: number): Candidates {
  const kept = typicalSet(candidates, n, typicalP, lse);
  if (narrowed.ids.length < kept) narrowed = { ...narrowed, ids: new Int32Array(kept), logits: new Float32Array(kept) };
  for (let i = 0; i < kept; i++) {
    const from = candidates.offset + (scratch.order[i] as number);
    narrowed.ids[i] = candidates.ids[from] as number;
    narrowed.logits[i] = candidates.logits[from] as number;
  }
  narrowed.count = kept;
  return narrowed;
}

/**
 * Draws from the softmax at the temperature over the first n by the Gumbel-max trick: the largest of logit / temperature +
 * noise, where the noise belongs to the token id. So a model that nearly agrees draws the same token at this position nearly
 * always, which is what a draft model needs (Daliri et al. 2024, drafter-invariant speculative decoding).
 */
function pickIndex(candidates: Candidates, n: number, params: SamplingParams, position: number): number {
  const { logits, offset, ids } = candidates;
  const { seed, temperature } = params;
  const best = logits[offset] as number;
  let picked = 0;
  let highest = -Infinity;
  for (let i = 0; i < n; i++) {
    const noise = -Math.log(-Math.log(uniform(seed, position, ids[offset + i] as number)));
    const score = ((logits[offset + i] as number) - best) / temperature + noise;
    if (score > highest) [picked, highest] = [i, score];
  }
  return picked;
}

/**
 * Picks the token of the sequence's absolute `position` from its candidates. Temperature 0 takes the first candidate and
 * draws no random number. @throws E_NONFINITE when no candidate has a finite logit
 */
export function pickToken(params: SamplingParams, candidates: Candidates, lse: number, position: number): Picked {
  let n = usable(candidates, lse);
  let kept = candidates;
  if (params.temperature === 0) n = 1;
  else {
    const cut = params.topK > 0 && params.topK < candidates.vocabSize;
    if (cut) n = Math.min(n, params.topK);
    // after a top-k cut the probabilities are those of the cut; without one, those of the row
    let norm = cut ? logSumExp(kept, n) : lse;
    if (params.typicalP < 1) {
      kept = narrowToTypical(kept, n, params.typicalP, norm);
      n = kept.count;
      norm = logSumExp(kept, n);
    }
    const byMin = minPrefix(kept, n, params.minP);
    n = params.topP < 1 ? Math.min(byMin, massPrefix(kept, n, params.topP, norm)) : byMin;
  }
  const index = n === 1 ? 0 : pickIndex(kept, n, params, position);
  const at = kept.offset + index;
  return { token: kept.ids[at] as number, logprob: (kept.logits[at] as number) - lse };
}

/** The `params.logprobs` likeliest tokens with their log-probabilities. */
export function topLogprobs(params: SamplingParams, candidates: Candidates, lse: number): Picked[] {
  const n = Math.min(params.logprobs, candidates.count);
  const top: Picked[] = [];
  for (let i = 0; i < n; i++) {
    const logit = candidates.logits[candidates.offset + i] as number;
    if (!(logit > -Infinity)) break; // banned tokens have no log-probability a JSON document could hold
    top.push({ token: candidates.ids[candidates.offset + i] as number, logprob: logit - lse });
  }
  return top;
}
