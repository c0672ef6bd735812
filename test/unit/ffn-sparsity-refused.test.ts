// Activation sparsity on the bare binding: options that are refused.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import type { NativeSparsity } from "../../dist/esm/binding/native.js";
import { tinyModel } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";
import { corePlan, keepsOf, nLayers, plan } from "../support/sparsity-plans.js";

t.test("what native code refuses", (t) => {
  const path = tinyModel({ type: "Q4_0", nLayers });
  const create = (sparsity: unknown, file = path): void =>
    new NativeSession(file, { sparsity: sparsity as NativeSparsity }).dispose();
  const keepAt = (value: number): Float32Array => keepsOf(0.5, 0.5, 0.5, 0.5).fill(value, 5, 6);
  const thresholds = new Float32Array(nLayers * 4).fill(0.2);
  const before = binding.counters();
  const invalid: [string, Partial<NativeSparsity>, RegExp][] = [
    ["few keeps", { keeps: new Float32Array(7).fill(0.5) }, /keeps of 8 sites, got 7 and 0/],
    ["many keeps", { keeps: new Float32Array(9).fill(0.5) }, /got 9 and 0/],
    ["NaN", { keeps: keepAt(NaN) }, /keeps in \(0, 1\].* at site 5/],
    ["nothing kept", { keeps: keepAt(0) }, /keeps in \(0, 1\].* at site 5/],
    ["less than nothing", { keeps: keepAt(-0.5) }, /keeps in \(0, 1\]/],
    ["more than all", { keeps: keepAt(1.001) }, /keeps in \(0, 1\]/],
    ["infinite", { keeps: keepAt(Infinity) }, /keeps in \(0, 1\]/],
    ["no thresholds", { selection: "threshold" }, /keeps and thresholds of 8 sites, got 8 and 0/],
    ["few thresholds", { selection: "hybrid", thresholds: new Float32Array(4) }, /got 8 and 4/],
    ["thresholds of topk", { thresholds }, /got 8 and 8/],
    ["NaN threshold", { selection: "hybrid", thresholds: keepAt(NaN) }, /thresholds of 0 or more, at site 5/],
    ["negative threshold", { selection: "threshold", thresholds: keepAt(-1) }, /thresholds of 0 or more/],
    ["core before other products", { ...corePlan(0.5), keeps: keepAt(0.5) }, /hidden "core".* at site 0/],
    ["core without tokens", { ...corePlan(0.5), core: { tokenShare: 0, guard: 0 } }, /token_share: expected \(0, 1\]/],
    ["core of NaN", { ...corePlan(0.5), core: { tokenShare: NaN, guard: 0 } }, /token_share/],
    ["a guard above 1", { ...corePlan(0.5), core: { tokenShare: 0.4, guard: 1.5 } }, /guard: expected \[0, 1\]/],
  ];
  for (const [name, given, message] of invalid)
    t.throws(() => create(plan(given)), { code: "INVALID_OPTION", message }, name);
  const wrong: [string, unknown, RegExp][] = [
    ["no object", 3, /sparsity: expected an object/],
    [
      "another selection",
      { ...plan({}), selection: "best" },
      /sparsity.selection: expected one of "topk", "threshold"/,
    ],
    ["no norms", { ...plan({}), norms: undefined }, /sparsity.norms: expected one of/],
    ["a number as hidden", { ...plan({}), hidden: 1 }, /sparsity.hidden: expected one of/],
    ["keeps of doubles", { ...plan({}), keeps: new Float64Array(8).fill(0.5) }, /keeps/],
    ["no keeps", { ...plan({}), keeps: undefined }, /keeps/],
    ["no core", { ...corePlan(0.5), core: undefined }, /sparsity.core: expected an object/],
    ["core without a guard", { ...corePlan(0.5), core: { tokenShare: 0.4 } }, /sparsity.core.guard: expected a number/],
  ];
  for (const [name, given, message] of wrong) t.throws(() => create(given), { message }, name);

  const odd = tinyModel({ nLayers, type: "F16", dim: 80, nHeads: 2, nKvHeads: 1, headDim: 40, hiddenDim: 144 });
  for (const [site, width] of [80, 80, 80, 144].entries()) {
    const keeps = keepsOf(1, 1, 1, 1).fill(0.5, site, site + 1);
    const message = new RegExp(`multiple of 32, at most 131072, this model has ${width}`);
    t.throws(() => create(plan({ keeps }), odd), { code: "INVALID_OPTION", message });
  }
  t.doesNotThrow(() => create(plan({ keeps: keepsOf(1, 1, 1, 1) }), odd), "nothing is masked");
  t.same(binding.counters(), before, "nothing stays of what was refused");
  t.end();
});

t.test("slots of core neurons are checked, and an engine without sparsity has no totals", (t) => {
  const path = tinyModel({ type: "Q4_0", nLayers });
  const session = new NativeSession(path, { sparsity: corePlan(0.5), maxPositions: 32 });
  for (const slot of [64, -2, 2 ** 31 - 1]) {
    session.arrays.coreSlots[0] = slot;
    const message = new RegExp(`coreSlots\\[0\\]: expected -1 or a slot below 64, got ${slot}`);
    t.throws(() => session.feedTogether([5], () => {}), { code: "INVALID_OPTION", message });
  }
  for (const slot of [63, 0, -1]) {
    session.reset();
    session.arrays.coreSlots[0] = slot;
    t.doesNotThrow(() => session.feedTogether([5], () => {}));
  }
  session.dispose();
  const dense = new NativeSession(path);
  t.throws(() => binding.engineSparsity(dense.engine, true), { code: "INVALID_OPTION" });
  dense.dispose();
  t.end();
});
