// The load option `ffnSparsity`: what each type takes and has by default, what native code is told of it, and that what is wrong
// is named.
import t from "tap";
import { techniqueOptions } from "../../dist/esm/cli/options.js";
import { resolveSparsity } from "../../dist/esm/engine/sparsity/option.js";
import { describeSparsity, nameSparsity, warnOfColumns } from "../../dist/esm/engine/sparsity/report.js";
import { missingColumns } from "../../dist/esm/worker/sparsity/columns.js";
import { columnsOf, planSparsity } from "../../dist/esm/worker/sparsity/plan.js";
import type { SparsityCalibration } from "../../dist/esm/worker/sparsity/sites.js";
import { SparsityTally } from "../../dist/esm/worker/sparsity/tally.js";

const plan = (given: object, nLayers = 2, calibration?: SparsityCalibration) =>
  planSparsity(resolveSparsity(given)!, nLayers, calibration);
const rounded = (values: Float32Array) => [...values].map((value) => Number(value.toFixed(4)));

t.test("defaults of each type", (t) => {
  t.equal(resolveSparsity(undefined), undefined);
  t.equal(resolveSparsity(false), undefined);
  const cases: [string, object][] = [
    ["teal", { keepHidden: 0.5, attention: false, selection: "topk", allocation: "prior" }],
    ["wina", { keepHidden: 0.5, attention: false, norms: "stacked", selection: "topk", allocation: "prior" }],
    ["dip", { keepHidden: 0.5, selection: "topk", allocation: "prior" }],
    ["cats", { selection: "topk", allocation: "uniform" }],
    ["down-only", { selection: "topk", allocation: "uniform" }],
    ["random", { selection: "topk", allocation: "uniform" }],
    ["coreinfer", { selection: "topk", allocation: "uniform", tokenShare: 0.4, guard: 0.36 }],
  ];
  for (const [type, rest] of cases) t.strictSame(resolveSparsity({ type, keep: 0.5 }), { type, keep: 0.5, ...rest });
  t.equal(resolveSparsity({ type: "cats", keep: 0.5, calibration: "a" })?.allocation, "calibrated");
  t.end();
});

t.test("every field is what was given", (t) => {
  const cases = [
    {
      type: "wina",
      keep: 1,
      keepHidden: 0.25,
      attention: true,
      norms: "published",
      selection: "hybrid",
      allocation: "uniform",
      calibration: "a.sparsity",
    },
    { type: "coreinfer", keep: 0.3, selection: "topk", allocation: "uniform", tokenShare: 1, guard: 0 },
  ];
  for (const given of cases) {
    const { selection, allocation, ...rest } = given;
    t.strictSame(resolveSparsity(given.type === "wina" ? given : rest), given);
    t.ok(selection && allocation);
  }
  t.end();
});

t.test("what is wrong is named, with what was expected and found", (t) => {
  const refused = (value: unknown, message: string | RegExp) =>
    t.throws(() => resolveSparsity(value), { name: "InvalidOptionError", code: "INVALID_OPTION", message });
  for (const [value, found] of [
    ["wina", '"wina"'],
    [true, "true"],
    [null, "null"],
    [[], "an array of 0"],
  ] as const)
    refused(value, `ffnSparsity: expected false or { type: "wina", keep: 0.6, … }, got ${found}`);
  const share = "a number in (0, 1]";
  const fields: [object, string][] = [
    [{ type: undefined }, 'type: expected "teal" or "wina" or "cats"'],
    [{ type: "deja-vu" }, "type: expected"],
    [{ keep: undefined }, `keep: expected ${share}, got undefined`],
    [{ keep: 0 }, `keep: expected ${share}, got 0`],
    [{ keep: 1.01 }, `keep: expected ${share}, got 1.01`],
    [{ keep: Number.NaN }, `keep: expected ${share}, got NaN`],
    [{ keep: "0.5" }, `keep: expected ${share}, got "0.5"`],
    [{ keepHidden: 0 }, `keepHidden: expected ${share}, got 0`],
    [{ attention: 1 }, "attention: expected true or false, got 1"],
    [{ norms: "l1" }, 'norms: expected "stacked" or "own" or "published", got "l1"'],
    [{ selection: "top" }, 'selection: expected "topk" or "threshold" or "hybrid", got "top"'],
    [{ allocation: "greedy" }, 'allocation: expected "uniform" or "prior" or "calibrated", got "greedy"'],
    [{ calibration: "" }, 'calibration: expected the path of a file, got ""'],
    [{ selection: "threshold" }, 'calibration: expected the path of a file, for selection "threshold", got undefined'],
    [{ selection: "hybrid" }, 'calibration: expected the path of a file, for selection "hybrid", got undefined'],
    [
      { allocation: "calibrated" },
      'calibration: expected the path of a file, for allocation "calibrated", got undefined',
    ],
    [
      { keepHidden: 0.5, calibration: "a.json" },
      'keepHidden: expected nothing with allocation "calibrated", which says it, got 0.5',
    ],
    [{ type: "coreinfer", tokenShare: 0 }, `tokenShare: expected ${share}, got 0`],
    [{ type: "coreinfer", guard: 1.5 }, "guard: expected a number in [0, 1], got 1.5"],
    [{ type: "cats", attention: true }, "attention is an option of teal, wina, not of cats"],
    [{ type: "teal", norms: "stacked" }, "norms is an option of wina, not of teal"],
    [{ type: "down-only", keepHidden: 0.5 }, "keepHidden is an option of teal, wina, dip, not of down-only"],
    [
      { type: "random", selection: "topk" },
      "selection is an option of teal, wina, cats, dip, down-only, not of random",
    ],
    [{ guard: 0.4 }, "guard is an option of coreinfer, not of wina"],
    [{ keepHiden: 0.5 }, 'keepHiden is not an option; did you mean "keepHidden"?'],
    [{ type: "random", share: 1 }, "share is not an option; known: type, keep"],
  ];
  for (const [given, message] of fields) {
    const escaped = `^ffnSparsity.${message}`.replace(/[.*+?()[\]{}|]/g, "\\$&");
    refused({ type: "wina", keep: 0.5, ...given }, new RegExp(escaped));
  }
  const throwing = Object.defineProperty({ type: "wina" }, "keep", {
    enumerable: true,
    get: () => {
      throw new Error("no");
    },
  });
  refused(throwing, /^ffnSparsity.keep/);
  t.end();
});

t.test("shares kept, by site: attnIn, attnOut, ffnIn, ffnMid", (t) => {
  const keeps = (given: object, nLayers = 1) => rounded(plan(given, nLayers).keeps);
  t.same(keeps({ type: "teal", keep: 0.5, allocation: "uniform" }, 2), [1, 1, 0.5, 0.5, 1, 1, 0.5, 0.5]);
  t.same(keeps({ type: "teal", keep: 0.5 }), [1, 1, 0.55, 0.45], "the prior");
  t.same(keeps({ type: "wina", keep: 0.5, attention: true }), [0.5, 0.375, 0.55, 0.45]);
  t.same(keeps({ type: "dip", keep: 0.6, keepHidden: 0.5 }), [1, 1, 0.64, 0.45]);
  t.same(keeps({ type: "teal", keep: 0.01, attention: true }), [0.05, 0.05, 0.109, 0.05], "never more than 95 %");
  t.same(keeps({ type: "wina", keep: 1, attention: true }), [1, 1, 1, 1]);
  for (const type of ["cats", "down-only", "random", "coreinfer"]) t.same(keeps({ type, keep: 0.4 }), [1, 1, 1, 0.4]);
  t.end();
});

t.test("what ranks channels, and which weights get columns", (t) => {
  const cases: [object, object, string][] = [
    [{ type: "teal" }, { hidden: "magnitude", norms: "none" }, "ffn_gate ffn_up ffn_down"],
    [{ type: "wina" }, { hidden: "magnitude", norms: "stacked" }, "ffn_gate ffn_up ffn_down"],
    [
      { type: "wina", norms: "published", attention: true },
      { hidden: "magnitude", norms: "published" },
      "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down",
    ],
    [{ type: "dip" }, { hidden: "magnitude", norms: "none" }, "ffn_gate ffn_up ffn_down"],
    [{ type: "cats" }, { hidden: "gate", norms: "none" }, "ffn_down"],
    [{ type: "down-only" }, { hidden: "magnitude", norms: "none" }, "ffn_down"],
    [{ type: "random" }, { hidden: "random", norms: "none" }, "ffn_down"],
    [
      { type: "coreinfer", guard: 0 },
      { hidden: "core", norms: "none", core: { tokenShare: 0.4, guard: 0 } },
      "ffn_down",
    ],
  ];
  for (const [given, expected, columns] of cases) {
    const { keeps: _, ...rest } = plan({ ...given, keep: 0.5 });
    t.strictSame(rest, { selection: "topk", ...expected });
    t.same(columnsOf(resolveSparsity({ ...given, keep: 0.5 })!), columns.split(" "));
  }
  t.end();
});

t.test("a calibration gives shares and thresholds", (t) => {
  const calibration: SparsityCalibration = {
    quantiles: (layer, site, share) => 10 * layer + site.length + share,
    keeps: (target) => (target === 0.5 ? Float32Array.of(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2) : undefined),
  };
  const given = { type: "teal", keep: 0.5, selection: "threshold", calibration: "a" } as const;
  const { keeps, thresholds, selection } = plan(given, 2, calibration);
  t.equal(selection, "threshold");
  t.same(rounded(keeps), [1, 1, 0.7, 0.6, 1, 1, 0.3, 0.2], "sites that are not masked stay whole");
  t.same(rounded(thresholds!), [0, 0, 5.3, 6.4, 0, 0, 15.7, 16.8]);
  const even = plan({ ...given, allocation: "uniform", selection: "hybrid" }, 1, calibration);
  t.same(rounded(even.thresholds!), [0, 0, 5.5, 6.5]);
  t.notOk("thresholds" in plan({ ...given, selection: "topk" }, 2, calibration));
  const refused = (options: object, nLayers: number, with_: SparsityCalibration | undefined, message: RegExp) =>
    t.throws(() => plan(options, nLayers, with_), { code: "INVALID_OPTION", message });
  refused(
    given,
    2,
    undefined,
    /^ffnSparsity.calibration: expected a calibration for allocation "calibrated", got none/,
  );
  refused({ ...given, allocation: "prior" }, 2, undefined, /calibration for selection "threshold", got none/);
  refused({ ...given, keep: 0.6 }, 2, calibration, /^ffnSparsity.keep: expected a share that was calibrated, got 0.6/);
  refused(given, 3, calibration, /4 shares for each of 3 layers, got 8/);
  t.end();
});

t.test("what is told of it", (t) => {
  const outs = {
    sparseState: Int32Array.of(0, 1, 1, 2),
    sparseKept: Float32Array.of(0, 0.5, 0.25, 0),
    sparseBytes: Float32Array.of(0, 3e6, 1e6, 0),
  };
  const tally = (...rows: number[]) => {
    const made = new SparsityTally();
    for (const row of rows) made.add(outs, row);
    return made.summary();
  };
  const info = resolveSparsity({ type: "cats", keep: 0.375 })!;
  t.equal(tally(), undefined);
  t.equal(tally(0, 0), undefined, "nothing was to be sparse");
  t.strictSame(tally(0, 1, 2), { kept: 0.375, bytesPerToken: 2e6, denseTokens: 1, guarded: 0 });
  t.strictSame(tally(0, 3, 3), { kept: 1, bytesPerToken: 0, denseTokens: 3, guarded: 2 });
  t.same(describeSparsity(info, tally(0, 1, 2)), [
    "ffn-sparsity cats: 37.5 % of channels kept, 2.0 MB of weights a token",
  ]);
  t.same(describeSparsity(info, tally(0, 3)), [], "a guarded request is exact");
  t.same(describeSparsity(info, undefined), []);
  t.same(describeSparsity(false, tally(1)), []);
  t.equal(nameSparsity(info), "cats 0.38");
  t.equal(nameSparsity(false), undefined);
  t.end();
});

t.test("tensors without columns are named once, by kind", (t) => {
  const tensor = (name: string, type: string, columnBytes = 0) => ({ name, type, columnBytes });
  const tensors = [
    tensor("token_embd.weight", "F32"),
    tensor("blk.0.ffn_down.weight", "F32"),
    tensor("blk.1.ffn_down.weight", "F32"),
    tensor("blk.2.ffn_down.weight", "Q8_0", 100),
    tensor("blk.3.ffn_down.weight", "Q6_K"),
    tensor("blk.3.ffn_gate.weight", "F32"),
    tensor("blk.3.ffn_down.bias", "F32"),
  ];
  const missing = missingColumns(tensors, ["ffn_down"]);
  t.same(missing, ["ffn_down (F32, 2 layers)", "ffn_down (Q6_K, 1 layer)"]);
  t.match(warnOfColumns(missing), [
    /^ffnSparsity: no columns of ffn_down \(F32, 2 layers\), ffn_down \(Q6_K, 1 layer\):/,
  ]);
  t.same(warnOfColumns([]), []);
  t.end();
});

t.test("the command line's form of it", (t) => {
  const cases: [string | undefined, unknown][] = [
    [undefined, undefined],
    ["off", false],
    ["wina:0.6", { type: "wina", keep: 0.6 }],
    ["dip:0.6,keepHidden=0.5", { type: "dip", keep: 0.6, keepHidden: 0.5 }],
    ["teal:keep=0.5,attention=true", { type: "teal", keep: 0.5, attention: true }],
    ["wina", "wina"],
    ["wina:half", { type: "wina", keep: "half" }],
  ];
  for (const [given, expected] of cases)
    t.strictSame(techniqueOptions({ ffnSparsity: given }).ffnSparsity, expected, String(given));
  t.end();
});
