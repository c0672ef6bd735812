/**
 * Tiny random models of every architecture, loaded by the peer too: two independent engines must agree on each row of
 * logits. Each has controls: the same file with one thing changed (a rope style, a bias, a norm, the window), read by
 * Lutra only. Were the engine wrong in that thing, its distance would be of the control's size; so every control must be
 * well above the limit, or the comparison would be blind to it.
 *
 * With F32 weights both compute the same thing to rounding. With quantised ones each rounds activations its own way, so
 * the F32 twin of the file says how far each is from exact.
 */
import { join } from "node:path";
import t from "tap";
import {
  buildModel,
  type GgufSpec,
  type GgufTensor,
  type TensorTypeName,
  tensorTypes,
  value,
  withMetadata,
  writeGguf,
} from "../support/gguf-builder.js";
import type { Architecture, ModelOptions } from "../support/gguf-model.js";
import { Random } from "../support/gguf-weights.js";
import { NativeSession } from "../support/native-session.js";
import { distance, peerLogits, type RowDistance, skipWithoutPeer } from "../support/peer.js";
import { dequantizeSpec } from "../support/peer-dequantize.js";

const maxMeanKl = 1e-3;
const maxMeanKlF32 = 1e-5;
const minControlKl = 5 * maxMeanKl;
const vocabSize = 640;
const headDim = 64;
const slidingWindow = 48;
const positions = 160;

type Change = (tensor: GgufTensor) => GgufTensor;
type Control = (spec: GgufSpec) => GgufSpec;

/** The spec with every tensor whose name ends so changed. */
function changeTensors(spec: GgufSpec, ending: string, change: Change): GgufSpec {
  if (!spec.tensors.some(({ name }) => name.endsWith(ending))) throw new Error(`no tensor ends with ${ending}`);
  return { ...spec, tensors: spec.tensors.map((tensor) => (tensor.name.endsWith(ending) ? change(tensor) : tensor)) };
}

/** F32 values replaced, given their index and the old value. */
const mapFloats =
  (map: (x: number, index: number) => number): Change =>
  (tensor) => {
    const floats = new Float32Array(tensor.data.slice().buffer).map(map);
    return { ...tensor, data: new Uint8Array(floats.buffer) };
  };

const setFloats =
  (ending: string, x: number): Control =>
  (spec) =>
    changeTensors(
      spec,
      ending,
      mapFloats(() => x),
    );

/** Rows of each head so ordered that a rope of neighbouring pairs becomes one of halves, or the other way. */
function swapRopeStyle(spec: GgufSpec): GgufSpec {
  const change: Change = (tensor) => {
    const [cols, rows] = tensor.shape as [number, number];
    const [, blockElements, blockBytes] = tensorTypes[tensor.type];
    const rowBytes = (cols / blockElements) * blockBytes;
    const data = new Uint8Array(tensor.data.length);
    for (let row = 0; row < rows; row++) {
      const inHead = row % headDim;
      const from = row - inHead + (inHead % 2) * (headDim / 2) + Math.floor(inHead / 2);
      data.set(tensor.data.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
    }
    return { ...tensor, data };
  };
  return changeTensors(changeTensors(spec, "attn_q.weight", change), "attn_k.weight", change);
}

const setRopeBase =
  (architecture: Architecture, base: number): Control =>
  (spec) =>
    withMetadata(spec, { [`${architecture}.rope.freq_base`]: value.f32(base) });

interface Case {
  /** Scale of all logits: as flat as keeps the rounding of 8-bit activations, whose KL grows with its square, below 1e-3. */
  headGain: number;
  /** Sizes beyond the shared ones. */
  options: ModelOptions;
  controls: Record<string, Control>;
}

const cases: Record<Architecture, Case> = {
  llama: {
    headGain: 0.65,
    options: { nHeads: 4, nKvHeads: 2 },
    controls: { "rope style": swapRopeStyle, "rope base": setRopeBase("llama", 500000) },
  },
  qwen2: {
    headGain: 0.65,
    options: { nHeads: 4, nKvHeads: 2 },
    controls: {
      "rope style": swapRopeStyle,
      "query bias": setFloats("attn_q.bias", 0),
      "key bias": setFloats("attn_k.bias", 0),
      "value bias": setFloats("attn_v.bias", 0),
    },
  },
  // Queries wider than the residual stream, as in the real qwen3 and gemma3.
  qwen3: {
    headGain: 0.52,
    options: { nHeads: 8, nKvHeads: 2 },
    controls: {
      "rope style": swapRopeStyle,
      "query norm": setFloats("attn_q_norm.weight", 1),
      "key norm": setFloats("attn_k_norm.weight", 1),
    },
  },
  gemma3: {
    headGain: 1.5,
    options: { nHeads: 8, nKvHeads: 2, slidingWindow },
    controls: {
      "rope style": swapRopeStyle,
      "rope base of full layers": setRopeBase("gemma3", 10000),
      "sliding window": (spec) =>
        withMetadata(spec, { "gemma3.attention.sliding_window": value.u32(slidingWindow + 1) }),
      "query norm": setFloats("attn_q_norm.weight", 1),
      "norm after attention": setFloats("post_attention_norm.weight", 1),
      "norm after ffn": setFloats("post_ffw_norm.weight", 1),
    },
  },
};

/** Biases and norms as uneven as in trained models, queries that look at few keys, and a head far from uniform. */
function sharpen(spec: GgufSpec, architecture: Architecture): GgufSpec {
  const random = new Random(7);
  const norm = (low: number, high: number): Change => mapFloats(() => random.between(low, high));
  const endings = (pattern: RegExp): string[] => [
    ...new Set(spec.tensors.flatMap(({ name }) => pattern.exec(name)?.[0] ?? [])),
  ];
  let sharp = spec;
  for (const ending of endings(/attn_[qk]_norm\.weight$/)) sharp = changeTensors(sharp, ending, norm(0.4, 1.8));
  for (const ending of endings(/post_\w+_norm\.weight$/)) sharp = changeTensors(sharp, ending, norm(0.3, 1.5));
  for (const ending of endings(/attn_[qkv]\.bias$/)) sharp = changeTensors(sharp, ending, norm(-1.5, 1.5));
  const { headGain } = cases[architecture];
  return changeTensors(
    sharp,
    "output_norm.weight",
    mapFloats((x) => x * headGain),
  );
}

/** Random tokens; what they spell does not matter. */
function randomIds(): number[] {
  const random = new Random(11);
  return Array.from({ length: positions }, () => random.next() % vocabSize);
}

function ourLogits(path: string, ids: readonly number[]): Float32Array[] {
  const session = new NativeSession(path, { threads: 2 });
  const rows: Float32Array[] = [];
  session.feed(ids, 64, (_, logits) => rows.push(logits.slice()));
  session.dispose();
  return rows;
}

const describe = ({ meanKl, maxKl, top1, entropy }: RowDistance): string =>
  `mean KL ${meanKl.toExponential(2)}, max ${maxKl.toExponential(2)}, top-1 ${(top1 * 100).toFixed(1)} %, entropy ${entropy.toFixed(2)}`;

const types: TensorTypeName[] = ["F32", "Q8_0", "Q4_K"];

for (const architecture of Object.keys(cases) as Architecture[]) {
  for (const type of types) {
    t.test(`${architecture} ${type} agrees with the peer`, { skip: skipWithoutPeer }, async (t) => {
      const { options, controls } = cases[architecture];
      const sizes = { dim: 256, headDim, hiddenDim: 512, vocabSize, contextLength: 512 };
      const spec = sharpen(buildModel({ architecture, type, ...sizes, ...options }), architecture);
      const folder = t.testdir({});
      const path = writeGguf(join(folder, "model.gguf"), spec);
      const ids = randomIds();

      const theirs = await peerLogits(path, ids);
      t.equal(theirs.length, positions);
      const ours = ourLogits(path, ids);
      const found = distance(theirs, ours);
      const limit = type === "F32" ? maxMeanKlF32 : maxMeanKl;
      t.comment(`${architecture} ${type}: ${describe(found)}`);
      t.ok(found.meanKl <= limit, `mean KL ${found.meanKl} is at most ${limit}`);
      t.ok(found.top1 >= 0.9, `top-1 agreement ${found.top1} is at least 0.9`);
      if (type !== "F32") {
        const exact = await peerLogits(writeGguf(join(folder, "exact.gguf"), dequantizeSpec(spec)), ids);
        const [our, their] = [distance(exact, ours), distance(exact, theirs)];
        t.comment(`  from exact: Lutra ${describe(our)}`);
        t.comment(`  from exact: peer  ${describe(their)}`);
        t.ok(our.meanKl <= 1.25 * their.meanKl, `Lutra is no further from exact: ${our.meanKl}, peer ${their.meanKl}`);
      }
      // Flat rows would agree whatever is wrong.
      const maxEntropy = Math.log(vocabSize) - 1;
      t.ok(found.entropy > 0.2 && found.entropy < maxEntropy, `entropy ${found.entropy} is below ${maxEntropy}`);

      for (const [name, control] of Object.entries(controls)) {
        const changed = writeGguf(join(folder, "control.gguf"), control(spec));
        const { meanKl } = distance(theirs, ourLogits(changed, ids));
        t.comment(`  without the right ${name}: mean KL ${meanKl.toExponential(2)}`);
        t.ok(meanKl >= minControlKl, `a wrong ${name} shows: mean KL ${meanKl} is at least ${minControlKl}`);
      }
    });
  }
}
