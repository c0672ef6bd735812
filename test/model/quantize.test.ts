// Quantised real models: SmolLM2 (from its Q4_1 file) in other types answers as before, predicts nearly as well, and is read
// by the peer, which computes the same.
import { join } from "node:path";
import t from "tap";
import { loadModel, quantizeModel, type TargetType } from "../../dist/esm/index.js";
import { builtinText } from "../../dist/esm/calibration/index.js";
import { buildModel, writeGguf } from "../support/gguf-builder.js";
import { modelPath } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";
import { distance, peerLogits, skipWithoutPeer } from "../support/peer.js";

const source = await modelPath("smollm2-135m-instruct");
const folder = t.testdir();
const common = { contextSize: 1024, maxSequences: 1, speculation: "off" } as const;
const text = builtinText.slice(0, 4000);

async function perplexityOf(path: string): Promise<{ ppl: number; answer: string }> {
  await using model = await loadModel(path, common);
  const { ppl } = await model.perplexity(text);
  const { text: answer } = await model.generate("The capital of France is", { maxTokens: 4, temperature: 0 });
  return { ppl, answer };
}

const before = await perplexityOf(source);

for (const [type, atMost] of [
  ["q8_0", 1.01],
  ["q4_k", 1.1],
  ["q4_0", 1.35],
] as [TargetType, number][]) {
  t.test(type, async (t) => {
    const file = join(folder, `${type}.gguf`);
    const result = await quantizeModel(source, file, { type });
    t.comment(`${(result.sizeBytes / 1e6).toFixed(1)} MB in ${(result.ms / 1000).toFixed(1)} s`);
    const { ppl, answer } = await perplexityOf(file);
    t.comment(`perplexity ${ppl.toFixed(3)}, of the source ${before.ppl.toFixed(3)}`);
    if (type !== "q4_0") t.match(answer, /^ Paris/);
    t.ok(ppl < atMost * before.ppl && ppl > 0.95 * before.ppl, `${ppl / before.ppl}`);
  });
}

t.test(
  "the peer opens these files, and computes the same but for its coarser activations",
  { skip: skipWithoutPeer },
  async (t) => {
    const ids = Array.from({ length: 64 }, (_, i) => (i * 37) % 300);
    const sizes = { dim: 256, nHeads: 4, nKvHeads: 2, headDim: 64, hiddenDim: 512, vocabSize: 320 };
    const float = writeGguf(join(folder, "float.gguf"), buildModel({ ...sizes, type: "F32" }));
    for (const type of ["q6_k", "q4_k", "q3_k", "q2_k", "iq4_xs", "mxfp4", "tq2_0"] as const) {
      const { file } = await quantizeModel(float, join(folder, `tiny-${type}.gguf`), { type });
      const session = new NativeSession(file, { threads: 2 });
      const ours: Float32Array[] = [];
      session.feed(ids, 64, (_, logits) => ours.push(logits.slice()));
      session.dispose();
      const { meanKl, top1 } = distance(ours, await peerLogits(file, ids));
      t.comment(`${type}: mean KL ${meanKl.toExponential(1)}, top-1 ${(100 * top1).toFixed(0)} %`);
      t.ok(meanKl < 6e-3, `${type}: ${meanKl}`);
    }
  },
);
