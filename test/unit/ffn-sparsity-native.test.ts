// Activation sparsity on the bare binding: products that read columns against those that read panels, what is counted
// against the arithmetic of the format, and what thresholds keep.
import t from "tap";
import { binding, type Isa } from "../../dist/esm/binding/index.js";
import type { NativeSparsity } from "../../dist/esm/binding/native.js";
import { type TensorTypeName, tensorTypes } from "../support/gguf-builder.js";
import type { ModelOptions } from "../support/gguf-model.js";
import { tinyModel } from "../support/models.js";
import { NativeSession, type SessionOptions } from "../support/native-session.js";
import { corePlan, keepsOf, nLayers, plan } from "../support/sparsity-plans.js";

const everyReader = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
/** Widths that are no whole strips of 64 rows, where the type allows it. */
const raggedOf = (type: TensorTypeName): ModelOptions => ({
  type,
  nLayers,
  ...(tensorTypes[type][1] === 256 ? {} : { dim: 96, nHeads: 3, nKvHeads: 1, headDim: 32, hiddenDim: 160 }),
});

const thresholds = new Float32Array(nLayers * 4).fill(0.2);

const plans: NativeSparsity[] = (["topk", "threshold", "hybrid"] as const).flatMap((selection) => {
  const chosen = { selection, ...(selection !== "topk" && { thresholds }) };
  return [
    ...(["none", "stacked", "published", "own"] as const).map((norms) => plan({ norms, ...chosen })),
    ...(["gate", "random"] as const).flatMap((hidden) =>
      (["none", "own"] as const).map((norms) => plan({ hidden, norms, ...chosen })),
    ),
  ];
});
const nameOf = ({ selection, norms, hidden }: NativeSparsity): string => `${hidden}, norms ${norms}, ${selection}`;
const tokenOf = (position: number, sequence: number): number => 3 + ((position * 131 + sequence * 57) % 300);

/** Logits of 8 positions of 1 to 5 sequences together; the last four positions are sparse. */
function logitsOf(path: string, options: SessionOptions, check?: (session: NativeSession) => void): Float32Array[] {
  const session = new NativeSession(path, { maxPositions: 32, sequences: 5, ...options });
  const all: Float32Array[] = [];
  for (let n = 1; n <= 5; n++) {
    session.reset();
    for (let position = 0; position < 8; position++) {
      const tokens = Array.from({ length: n }, (_, sequence) => tokenOf(position, sequence));
      session.feedTogether(tokens, (_, logits) => all.push(logits.slice()));
    }
  }
  check?.(session);
  session.dispose();
  return all;
}

const bitsOf = (rows: readonly Float32Array[]): Buffer =>
  Buffer.concat(rows.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)));
const sameBits = (a: readonly Float32Array[], b: readonly Float32Array[]): boolean => bitsOf(a).equals(bitsOf(b));

const columnTypes: TensorTypeName[] = ["Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q6_K", "Q8_0"];

for (const type of [...columnTypes, "F16"] as TensorTypeName[]) {
  t.test(`${type}: columns give the bits of panels whose other inputs are zeros`, (t) => {
    const path = tinyModel(raggedOf(type));
    const dense = logitsOf(path, {});
    for (const sparsity of plans) {
      const panels = logitsOf(path, { sparsity, threads: 2 }, ({ engine }) => {
        const { columnBytes, denseBytes } = binding.engineSparsity(engine, false);
        t.equal(columnBytes, denseBytes, "panels read everything");
      });
      const columns = logitsOf(path, { sparsity, columns: everyReader, threads: 2 }, ({ engine, model }) => {
        const { rows, steps, columnBytes, denseBytes } = binding.engineSparsity(engine, false);
        t.same([rows, steps], [4 * (1 + 2 + 3 + 4 + 5), 4 * 5]);
        const has = binding.modelTensors(model).filter((tensor) => tensor.columnBytes > 0).length;
        t.equal(has, type === "F16" ? 0 : nLayers * everyReader.length);
        if (type === "F16") t.equal(columnBytes, denseBytes);
        else t.not(columnBytes, denseBytes, `${nameOf(sparsity)}: columns are read`);
        if (type !== "F16" && sparsity.selection === "topk") t.ok(columnBytes < 0.95 * denseBytes, nameOf(sparsity));
      });
      t.ok(sameBits(columns, panels), nameOf(sparsity));
      t.ok(sameBits(columns.slice(0, 4), dense.slice(0, 4)), "four positions are dense");
      t.notOk(sameBits(columns.slice(4, 5), dense.slice(4, 5)), "the fifth is not");
    }
    t.end();
  });
}

t.test("on every instruction set, and beside tiles", (t) => {
  for (const type of ["Q4_0", "Q6_K"] as const) {
    const path = tinyModel(raggedOf(type));
    for (const sparsity of [
      plan({}),
      plan({ norms: "own" }),
      plan({ norms: "own", keeps: keepsOf(0.9, 0.9, 0.9, 0.9) }),
    ]) {
      for (const isa of ["scalar", "avx2", "avx512", "neon"] as Isa[]) {
        let panels: Float32Array[];
        try {
          panels = logitsOf(path, { sparsity, isa });
        } catch (error) {
          t.match(error, { code: "INVALID_OPTION", message: /is not available/ });
          continue;
        }
        t.ok(sameBits(logitsOf(path, { sparsity, isa, columns: everyReader }), panels), `${type} ${isa}`);
        t.ok(sameBits(logitsOf(path, { sparsity, isa, tiles: ["all"] }), panels), `${type} ${isa}, tiles`);
        const both = { sparsity, isa, tiles: ["all"], columns: everyReader, threads: 2 };
        t.ok(sameBits(logitsOf(path, both), panels), `${type} ${isa}, tiles and columns`);
      }
    }
  }
  t.end();
});

t.test("core neurons: gathered rows and columns give the bits of panels", (t) => {
  for (const type of [...columnTypes, "F16"] as TensorTypeName[]) {
    const path = tinyModel(raggedOf(type));
    const run = (options: SessionOptions, slots: number[]): Float32Array[] => {
      const session = new NativeSession(path, { maxPositions: 64, sequences: 2, sparsity: corePlan(0.4), ...options });
      session.arrays.exactUntil.fill(20);
      session.arrays.coreSlots.set(slots);
      const all: Float32Array[] = [];
      for (let position = 0; position < 28; position++) {
        const tokens = slots.map((_, sequence) => tokenOf(position, sequence));
        session.feedTogether(tokens, (_, logits) => all.push(logits.slice()));
        const state = position < 20 ? 0 : 1;
        const states = slots.map((slot) => (slot < 0 ? 0 : state));
        t.same([...session.arrays.sparseState.subarray(0, slots.length)], states, `position ${position}`);
      }
      session.dispose();
      return all;
    };
    const first = (rows: Float32Array[]): Float32Array[] => rows.filter((_, i) => i % 2 === 0);
    const columns = ["ffn_down"];
    const together = run({}, [3, 63]);
    t.ok(sameBits(run({ columns, threads: 2 }, [3, 63]), together), `${type}: columns, two requests`);
    // Alone, a request's own rows of gate and up are gathered; beside another they are not.
    const alone = run({ columns }, [0]);
    t.ok(sameBits(alone, first(together)), `${type}: gathered`);
    t.ok(sameBits(first(run({ columns }, [5, -1])), alone), `${type}: beside a dense one`);
  }
  t.end();
});

/** Bytes of GGUF: `code` of an element's code; `scales` of what else a block has. Q4_K's twelve packed bytes stand as sixteen. */
const layouts: Record<string, { elements: number; code: number; scales: number }> = {
  Q4_0: { elements: 32, code: 0.5, scales: 2 },
  Q4_1: { elements: 32, code: 0.5, scales: 4 },
  Q5_0: { elements: 32, code: 0.625, scales: 2 },
  Q8_0: { elements: 32, code: 1, scales: 2 },
  Q4_K: { elements: 256, code: 0.5, scales: 20 },
  Q6_K: { elements: 256, code: 0.75, scales: 18 },
};

t.test("bytes are those of the format", (t) => {
  // Wide enough for panels of K types to be whole cache lines.
  const [dim, qDim, kvDim, hiddenDim] = [512, 512, 256, 1024];
  const keep = { attnIn: 0.75, attnOut: 0.5, ffnIn: 0.25, ffnMid: 0.5 };
  const sites = [
    { share: keep.attnIn, k: dim, rows: qDim + 2 * kvDim },
    { share: keep.attnOut, k: qDim, rows: dim },
    { share: keep.ffnIn, k: dim, rows: 2 * hiddenDim },
    { share: keep.ffnMid, k: hiddenDim, rows: dim },
  ];
  const sum = (of: (site: (typeof sites)[number]) => number): number => sites.reduce((all, site) => all + of(site), 0);
  for (const type of columnTypes) {
    const sizes = { nLayers, dim, nHeads: 8, nKvHeads: 4, headDim: 64, hiddenDim };
    const path = tinyModel({ ...sizes, type });
    const { elements, code, scales } = layouts[type]!;
    const bytesOf = (rows: number, k: number, share: number): number => rows * k * (share * code + scales / elements);
    const close = (found: number, expected: number, what: string): void => {
      t.ok(Math.abs(found / expected - 1) < 0.02, `${type} ${what}: ${found} for ${expected}`);
    };
    const run = (keeps: Float32Array) => {
      const session = new NativeSession(path, { columns: everyReader, sparsity: plan({ keeps }), maxPositions: 32 });
      for (let position = 0; position < 5; position++) session.feedTogether([tokenOf(position, 0)], () => {});
      const [bytes, kept] = [session.arrays.sparseBytes[0] as number, session.arrays.sparseKept[0] as number];
      const totals = binding.engineSparsity(session.engine, true);
      t.match(binding.engineSparsity(session.engine, false), { steps: 0, rows: 0, columnBytes: 0, denseBytes: 0 });
      session.dispose();
      return { bytes, kept, ...totals };
    };
    const all = run(keepsOf(keep.attnIn, keep.attnOut, keep.ffnIn, keep.ffnMid));
    const sparse = nLayers * sum(({ rows, k, share }) => bytesOf(rows, k, share));
    const dense = nLayers * sum(({ rows, k }) => bytesOf(rows, k, 1));
    close(all.bytes, sparse, "of a row");
    close(all.columnBytes, sparse, "read");
    close(all.denseBytes, dense, "dense");
    const weights = sum(({ rows, k }) => rows * k);
    t.ok(Math.abs(all.kept - sum(({ rows, k, share }) => rows * k * share) / weights) < 1e-6, `kept ${all.kept}`);
    // What no list stands before counts whole in a row's bytes, and not at all in the products' totals.
    const down = run(keepsOf(1, 1, 1, keep.ffnMid));
    const ofDown = nLayers * bytesOf(dim, hiddenDim, keep.ffnMid);
    close(down.columnBytes, ofDown, "of down, read");
    close(down.denseBytes, nLayers * bytesOf(dim, hiddenDim, 1), "of down, dense");
    close(down.bytes, dense - nLayers * bytesOf(dim, hiddenDim, 1) + ofDown, "of a row with down alone");
    t.equal(down.kept, keep.ffnMid);
  }
  t.end();
});

t.test("thresholds keep what reaches them; hybrid stays within its bounds", (t) => {
  const hiddenDim = 512;
  const path = tinyModel({ nLayers, type: "Q8_0", dim: 128, nHeads: 4, nKvHeads: 2, headDim: 32, hiddenDim });
  const keeps = keepsOf(1, 1, 1, 0.5);
  const run = (selection: NativeSparsity["selection"], threshold?: number, share = keeps) => {
    const given = threshold === undefined ? {} : { thresholds: new Float32Array(nLayers * 4).fill(threshold) };
    const sparsity = plan({ keeps: share, selection, ...given });
    const session = new NativeSession(path, { columns: ["ffn_down"], sparsity, maxPositions: 32 });
    const all: number[] = [];
    const kept: number[] = [];
    for (let position = 0; position < 12; position++) {
      session.feedTogether([tokenOf(position, 0)], (_, logits) => all.push(...logits));
      if (position >= 4) kept.push(session.arrays.sparseKept[0] as number);
    }
    session.dispose();
    return { all, kept };
  };
  const same = (kept: number[], expected: number): void => {
    for (const share of kept) t.ok(Math.abs(share - expected) < 1e-6, `${share} for ${expected}`);
  };
  const whole = run("threshold", 0);
  same(whole.kept, 1);
  t.same(whole.all, run("topk", undefined, keepsOf(1, 1, 1, 1)).all, "all channels reach 0");
  same(run("threshold", Infinity).kept, 1 / hiddenDim);
  same(run("topk").kept, 0.5);
  same(run("hybrid", 0).kept, Math.round(1.3 * 0.5 * hiddenDim) / hiddenDim);
  same(run("hybrid", Infinity).kept, Math.round(0.7 * 0.5 * hiddenDim) / hiddenDim);
  t.same(
    run("hybrid", Infinity).all,
    run("topk", undefined, keepsOf(1, 1, 1, 179 / hiddenDim)).all,
    "the best of them",
  );

  const session = new NativeSession(path, { sparsity: plan({ keeps }), maxPositions: 64 });
  const text = Int32Array.from({ length: 64 }, (_, position) => tokenOf(position, 0));
  const options = { window: 64, step: 0.25, aborts: new Int32Array(1), abort: 0 };
  const layers = binding.engineCalibrateSparsity(session.engine, Int32Array.of(0, 1), text, options);
  session.dispose();
  const middles = layers.map(({ sites }) => sites[3]!.quantiles[32] as number);
  const median = middles.reduce((a, b) => a + b) / nLayers;
  const { all, kept } = run("threshold", median);
  t.ok(new Set(kept).size > 1, "the number floats");
  for (const share of kept) t.ok(share > 0.35 && share < 0.65, `${share} reach the median`);
  t.same(run("hybrid", median).all, all, "within the bounds, hybrid is the threshold");
  const shares = [0.5, 1, 2].map((scale) => run("threshold", scale * median).kept[0] as number);
  t.ok(shares[0]! > shares[1]! && shares[1]! > shares[2]!, `${shares}`);
  t.end();
});
