/** Penalties and biases: the sparse entries equal the definition, token by token and all at once. */
import t from "tap";
import {
  PenaltyState,
  type SamplingParams,
  applyBiases,
  buildBiases,
  createBiasArrays,
  resolveSampling,
  uniform,
} from "../../dist/esm/sampling/index.js";

const params = (options: Parameters<typeof resolveSampling>[0]): SamplingParams =>
  resolveSampling({ seed: 0, ...options });

type Entries = Record<number, [number, number]>;

function entries(out: ReturnType<typeof createBiasArrays>, from: number, to: number): Entries {
  const found: Entries = {};
  for (let i = from; i < to; i++) {
    const id = out.ids[i]!;
    if (id in found) throw new Error(`token ${id} has two entries`);
    found[id] = [out.divides[i]!, out.adds[i]!];
  }
  return found;
}

/** Straight from the definition, over the window. */
function reference(p: SamplingParams, history: number[]): Entries {
  const active = p.repeatPenalty !== 1 || p.presencePenalty !== 0 || p.frequencyPenalty !== 0;
  const window = !active || p.repeatLastN === 0 ? [] : p.repeatLastN < 0 ? history : history.slice(-p.repeatLastN);
  const found: Entries = {};
  for (const [i, id] of p.biasIds.entries()) found[id] = [1, p.biasValues[i]!];
  for (const id of new Set(window)) {
    const count = window.filter((other) => other === id).length;
    const bias = found[id]?.[1] ?? 0;
    found[id] = [Math.fround(p.repeatPenalty), Math.fround(bias - p.presencePenalty - count * p.frequencyPenalty)];
  }
  return found;
}

t.test("nothing to do, nothing written", async (t) => {
  const state = new PenaltyState(params({}));
  for (let i = 0; i < 100; i++) state.push(i);
  t.equal(state.size, 0);
  t.equal(state.write(createBiasArrays(), 5), 5);
  t.equal(buildBiases(params({ repeatPenalty: 1.1, repeatLastN: 0 }), [1, 2], createBiasArrays()), 0);
});

t.test("a known case, at an offset, into arrays that must grow", async (t) => {
  const p = params({
    repeatPenalty: 1.5,
    presencePenalty: 0.25,
    frequencyPenalty: 0.5,
    repeatLastN: 4,
    logitBias: { 7: 2, 9: -Infinity },
  });
  const out = createBiasArrays(3);
  out.ids.set([11, 12, 13]);
  const end = buildBiases(p, [1, 5, 7, 5, 6], out, 3);
  t.same(entries(out, 3, end), { 5: [1.5, -1.25], 6: [1.5, -0.75], 7: [1.5, 1.25], 9: [1, -Infinity] });
  t.same([...out.ids.subarray(0, 3)], [11, 12, 13], "what stood before is kept");
});

t.test("token by token equals the definition for every window", async (t) => {
  for (const repeatLastN of [1, 2, 3, 64, 65, 100, 128, 200, -1]) {
    const p = params({
      repeatLastN,
      repeatPenalty: 1.25,
      presencePenalty: -0.5,
      frequencyPenalty: 0.125,
      logitBias: { 0: 1, 3: -2 },
    });
    const state = new PenaltyState(p);
    const history: number[] = [];
    const out = createBiasArrays(1);
    for (let i = 0; i < 450; i++) {
      const token = Math.floor(uniform(repeatLastN + 1, i) * 30);
      history.push(token);
      state.push(token);
      if (i % 7 !== 0 && i < 440) continue;
      const end = state.write(out, 0);
      const expected = reference(p, history);
      t.strictSame(entries(out, 0, end), expected, `window ${repeatLastN}, token ${i}`);
      t.strictSame(entries(out, 0, buildBiases(p, history, out)), expected);
    }
  }
});

t.test("a token costs the same after a long history", async (t) => {
  const state = new PenaltyState(params({ repeatPenalty: 1.1, repeatLastN: 64 }));
  const start = performance.now();
  for (let i = 0; i < 500_000; i++) state.push(i % 1000);
  t.equal(state.size, 64);
  t.ok(performance.now() - start < 3_000, `${(performance.now() - start).toFixed(0)} ms`);
});

t.test("applyBiases: divide what is positive, multiply what is not, then add; in float32", async (t) => {
  const row = Float32Array.from([2, -2, 0.1, 5, 0]);
  const out = createBiasArrays();
  out.ids.set([0, 1, 2, 3, 99]);
  out.divides.set([1.5, 1.5, 3, 1, 1]);
  out.adds.set([0.25, 0.25, 0, -Infinity, 1]);
  applyBiases(row, out, 0, 5);
  const f = Math.fround;
  t.same([...row], [f(f(2 / f(1.5)) + 0.25), -2.75, f(f(0.1) / 3), -Infinity, 0]);
});
