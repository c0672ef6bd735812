/** The sampler chain: cuts, picks, log-probabilities, and one answer from candidates and from full rows. */
import t from "tap";
import {
  type Candidates,
  type SamplingParams,
  candidatesNeeded,
  createCandidates,
  needsFullRow,
  needsLogSumExp,
  pickToken,
  resolveSampling,
  sortFullRow,
  topLogprobs,
  uniform,
} from "../../dist/esm/sampling/index.js";

const params = (options: Partial<SamplingParams>): SamplingParams => ({
  ...resolveSampling({ seed: 1, topK: 0, topP: 1, minP: 0, temperature: 1 }),
  ...options,
});

const lseOf = (row: ArrayLike<number>): number => {
  const best = Math.max(...Array.from(row));
  return Math.fround(best + Math.log(Array.from(row).reduce((sum, x) => sum + Math.exp(x - best), 0)));
};

/** What native code would return: the k best of a row, at an offset to see that it is honoured. */
function nativeCandidates(row: Float32Array, k: number, offset = 3): Candidates {
  const order = Array.from(row.keys())
    .sort((a, b) => row[b]! - row[a]! || a - b)
    .slice(0, k);
  const ids = new Int32Array(offset + order.length).fill(-7);
  const logits = new Float32Array(offset + order.length).fill(Number.NaN);
  order.forEach((id, i) => {
    ids[offset + i] = id;
    logits[offset + i] = row[id]!;
  });
  return { ids, logits, offset, count: order.length, vocabSize: row.length };
}

function randomRow(seed: number, n: number, spread: number): Float32Array {
  return Float32Array.from(
    { length: n },
    (_, i) => Math.round((uniform(seed, i, 1) + uniform(seed, i, 2) - 1) * spread * 8) / 8,
  );
}

/** Tokens a chain can pick, by sweeping the positions. */
function support(p: SamplingParams, candidates: Candidates, lse: number, draws = 4_000): Map<number, number> {
  const seen = new Map<number, number>();
  for (let position = 0; position < draws; position++) {
    const { token } = pickToken(p, candidates, lse, position);
    seen.set(token, (seen.get(token) ?? 0) + 1);
  }
  return seen;
}

const row = Float32Array.from([0.5, 0.3, 0.15, 0.05].map(Math.log));
const four = nativeCandidates(row, 4);
const keys = (map: Map<number, number>) => [...map.keys()].sort((a, b) => a - b);

t.test("each cut keeps what its definition says", async (t) => {
  const kept = (options: Partial<SamplingParams>) => keys(support(params(options), four, 0));
  t.same(kept({}), [0, 1, 2, 3]);
  t.same(kept({ topK: 2 }), [0, 1]);
  t.same(kept({ topP: 0.79 }), [0, 1]);
  t.same(kept({ topP: 0.81 }), [0, 1, 2]);
  t.same(kept({ topP: 0 }), [0]);
  t.same(kept({ minP: 0.29 }), [0, 1, 2]);
  t.same(kept({ minP: 0.31 }), [0, 1]);
  t.same(kept({ minP: 1 }), [0]);
  t.same(
    kept({ topK: 3, topP: 0.84 }),
    [0, 1],
    "after top-k, top-p sees renormalised mass: 0.5/0.95 + 0.3/0.95 = 0.842",
  );
  // entropy 1.142: surprises 0.69 1.20 1.90 3.00, so the nearest is token 1, then 0
  t.same(kept({ typicalP: 0.2 }), [1]);
  t.same(kept({ typicalP: 0.5 }), [0, 1]);
  t.same(kept({ typicalP: 0 }), [1], "at least one is left");
  t.same(kept({ temperature: 1e-30 }), [0]);
  t.same(kept({ temperature: 5e-324 }), [0]);
});

t.test("frequencies follow the softmax at the temperature", async (t) => {
  for (const temperature of [0.5, 1, 2, 100]) {
    const weights = Array.from(row, (logit) => Math.exp(logit / temperature));
    const sum = weights.reduce((a, b) => a + b);
    const seen = support(params({ temperature }), four, 0, 20_000);
    weights.forEach((weight, id) => {
      const expected = weight / sum;
      const error = Math.abs((seen.get(id) ?? 0) / 20_000 - expected);
      t.ok(
        error < 5 * Math.sqrt((expected * (1 - expected)) / 20_000),
        `T ${temperature}, token ${id}: off by ${error.toFixed(4)}`,
      );
    });
  }
});

t.test("greedy takes the first candidate; log-probabilities are of temperature 1", async (t) => {
  const picked = pickToken(params({ temperature: 0, topK: 40 }), four, 0, 5);
  t.equal(picked.token, 0);
  t.ok(Math.abs(picked.logprob - Math.log(0.5)) < 1e-6);
  const top = topLogprobs(params({ logprobs: 3 }), four, 0);
  t.same(
    top.map((entry) => entry.token),
    [0, 1, 2],
  );
  t.ok(Math.abs(top[2]!.logprob - Math.log(0.15)) < 1e-6);
  t.same(topLogprobs(params({ logprobs: 0 }), four, 0), []);
  t.same(topLogprobs(params({ logprobs: -1 }), four, 0), []);
  const total = topLogprobs(params({ logprobs: 4 }), four, 0).reduce((sum, entry) => sum + Math.exp(entry.logprob), 0);
  t.ok(Math.abs(total - 1) < 1e-5);
});

t.test("candidatesNeeded", async (t) => {
  t.equal(candidatesNeeded(params({ temperature: 0, topK: 40 })), 1);
  t.equal(candidatesNeeded(params({ temperature: 0, logprobs: 20 })), 20);
  t.equal(candidatesNeeded(params({ topK: 40 })), 40);
  t.equal(candidatesNeeded(params({ topK: 5, logprobs: 20 })), 20);
  for (const topK of [0, 256, 257, 1e9]) t.equal(candidatesNeeded(params({ topK })), 256);
});

t.test("needsFullRow only when the candidates do not decide", async (t) => {
  const wide = randomRow(3, 1000, 4);
  const lse = lseOf(wide);
  const c = nativeCandidates(wide, 256);
  const needs = (options: Partial<SamplingParams>) => needsFullRow(params(options), c, lse);
  t.equal(needs({}), true, "no cut at all");
  t.equal(needs({ topP: 0.2 }), false, "top-p is reached inside");
  t.equal(needs({ topP: 0.9999 }), true);
  t.equal(needs({ minP: 0.5 }), false, "min-p cuts inside");
  t.equal(needs({ minP: 1e-9 }), true);
  t.equal(needs({ topP: 0.9999, minP: 0.5 }), false);
  t.equal(needs({ topK: 256, typicalP: 0.5, topP: 0.9999 }), false, "top-k makes it exact");
  t.equal(needs({ topK: 257 }), true);
  t.equal(needs({ topK: 300, topP: 0.2 }), true, "the mass of 300 is unknown");
  t.equal(needs({ topK: 300, minP: 0.5 }), false);
  t.equal(needs({ topK: 5000, topP: 0.2 }), false, "a top-k beyond the vocabulary is none");
  t.equal(needs({ typicalP: 0.9, minP: 0.5 }), true, "the entropy is of the whole row");
  t.equal(needs({ temperature: 0 }), false);
  t.equal(needsFullRow(params({}), four, 0), false, "the candidates are the row");
});

t.test("needsLogSumExp only when a probability of the whole row decides or is reported", async (t) => {
  const needs = (options: Partial<SamplingParams>) => needsLogSumExp(params(options), 1000);
  t.equal(needs({ temperature: 0 }), false);
  t.equal(needs({ temperature: 0, logprobs: 0 }), true, "the picked token's log-probability is reported");
  t.equal(needs({ topK: 40 }), false, "top-k leaves the candidates alone");
  t.equal(needs({ topK: 256, topP: 0.5 }), false);
  t.equal(needs({ topK: 40, logprobs: 3 }), true);
  t.equal(needs({}), true);
  t.equal(needs({ topP: 0.9 }), true);
  for (const topK of [0, 257, 1000, 5000]) t.equal(needs({ topK }), true, "no cut that the candidates hold");
});

t.test("candidates and full row give the same token whenever both apply", async (t) => {
  let both = 0;
  let rows = 0;
  let spared = 0;
  const full = createCandidates();
  for (let i = 0; i < 1_500; i++) {
    const pick = <T>(values: T[], lane: number): T => values[Math.floor(uniform(5, i, lane) * values.length)]!;
    const logits = randomRow(i, pick([3, 200, 300, 1000], 1), pick([1, 4, 12, 40], 2));
    const p = params({
      seed: i,
      topK: pick([0, 0, 1, 40, 256, 300, 5000], 3),
      topP: pick([1, 0.95, 0.5, 0], 4),
      minP: pick([0, 0.05, 0.5, 1], 5),
      typicalP: pick([1, 1, 0.9, 0.2], 6),
      temperature: pick([0, 0.3, 0.8, 1.5, 1e-30, 100], 7),
    });
    if (i % 5 === 0) logits[i % logits.length] = -Infinity;
    const lse = lseOf(logits);
    const few = nativeCandidates(logits, candidatesNeeded(p));
    sortFullRow(logits, full);
    const a = pickToken(p, full, lse, i);
    t.ok(a.token >= 0 && a.token < logits.length && Number.isFinite(a.logprob)) || t.comment(JSON.stringify(p));
    if (needsFullRow(p, few, lse)) {
      rows++;
      continue;
    }
    both++;
    if (!needsLogSumExp(p, logits.length)) {
      spared++;
      const stand = few.logits[few.offset] as number;
      t.equal(needsFullRow(p, few, stand), false, "nor without the log-sum-exp");
      t.equal(pickToken(p, few, stand, i).token, a.token, "the largest logit may stand for the log-sum-exp");
    }
    const b = pickToken(p, few, lse, i);
    if (a.token !== b.token || a.logprob !== b.logprob) t.same(b, a, JSON.stringify({ i, p }));
  }
  t.ok(both > 500 && rows > 50, `${both} decided by candidates, ${rows} by rows`);
  t.ok(spared > 200, `${spared} without the log-sum-exp`);
});

t.test("sortFullRow orders as native code does", async (t) => {
  const values = Float32Array.from([1, -0, 0, Number.NaN, 1, -Infinity, 2, -3, 1e-40, -1e-40, 3e38, -3e38]);
  const sorted = sortFullRow(values, createCandidates());
  t.same([...sorted.ids], [10, 6, 0, 4, 8, 1, 2, 9, 7, 11, 5, 3]);
  t.equal(sorted.count, 12);
  const big = randomRow(1, 5000, 3);
  t.same([...sortFullRow(big, sorted).ids.subarray(0, 5000)], [...nativeCandidates(big, 5000, 0).ids]);
});

t.test("non-finite rows are E_NONFINITE, never a token", async (t) => {
  const view = (logits: number[], count = logits.length): Candidates => ({
    ids: Int32Array.from(logits, (_, i) => i),
    logits: Float32Array.from(logits),
    offset: 0,
    count,
    vocabSize: 1000,
  });
  for (const temperature of [0, 1]) {
    const p = params({ temperature, topK: 40 });
    for (const [logits, lse] of [
      [[Number.NaN, Number.NaN], Number.NaN],
      [[], 0],
      [[-Infinity, -Infinity], -Infinity],
      [[Infinity, 1], Infinity],
      [[1, 0], Number.NaN],
    ] as [number[], number][]) {
      t.throws(() => pickToken(p, view(logits), lse, 0), { code: "E_NONFINITE", status: 500 }, String(logits));
    }
    t.throws(() => pickToken(p, view([1, 2], 0), 1, 0), { code: "E_NONFINITE" });
    t.equal(pickToken(p, view([1, -Infinity, -Infinity]), 1, 0).token, 0);
  }
  t.same(keys(support(params({}), view([1, 1, -Infinity, -Infinity]), 2)), [0, 1], "banned tokens are never picked");
});

t.test("every combination of edge values leaves at least one candidate", async (t) => {
  const equal = nativeCandidates(new Float32Array(300), 256);
  for (const topK of [0, 1, 256, 300])
    for (const topP of [0, 1e-300, 1])
      for (const minP of [0, 1e-300, 1])
        for (const typicalP of [0, 1e-300, 1]) {
          for (const temperature of [0, 5e-324, 1, 100]) {
            const { token } = pickToken(params({ topK, topP, minP, typicalP, temperature }), equal, Math.log(300), 9);
            if (!(token >= 0 && token < 300))
              t.fail(JSON.stringify({ topK, topP, minP, typicalP, temperature, token }));
          }
        }
  t.pass();
});
