/**
 * embed() on tiny random models of every architecture against the peer, which pools as the model file names it. With
 * F32 weights both compute the same to rounding; the other poolings of the same text say how far wrong ones would be.
 */
import { join } from "node:path";
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { buildModel, value, withMetadata, writeGguf } from "../support/gguf-builder.js";
import type { Architecture } from "../support/gguf-model.js";
import { Random } from "../support/gguf-weights.js";
import { cosine } from "../support/vectors.js";
import { peerEmbeddings, skipWithoutPeer } from "../support/peer.js";

const vocabSize = 640;
const poolings = ["mean", "cls", "last"] as const;
const poolingType = { mean: 1, cls: 2, last: 3 };
const maxDistance = 3e-6;
const minControl = 1e-3;

/** Random ids behind the token gemma's vocabulary wants in front: the peer adds it where it is missing. */
function randomTexts(): number[][] {
  const random = new Random(23);
  return [2, 9, 120, 300].map((length) => [1, ...Array.from({ length: length - 1 }, () => random.next() % vocabSize)]);
}

for (const architecture of ["llama", "qwen2", "qwen3", "gemma3"] satisfies Architecture[]) {
  t.test(`${architecture} embeds as the peer does`, { skip: skipWithoutPeer }, async (t) => {
    const sizes = { dim: 256, headDim: 64, hiddenDim: 512, vocabSize, contextLength: 512, slidingWindow: 48 };
    const spec = buildModel({ architecture, type: "F32", ...sizes });
    const folder = t.testdir({});
    const texts = randomTexts();
    for (const pooling of poolings) {
      const named = withMetadata(spec, { [`${architecture}.pooling_type`]: value.u32(poolingType[pooling]) });
      const path = writeGguf(join(folder, `${pooling}.gguf`), named);
      const theirs = await peerEmbeddings(path, texts);
      const model = await loadModel(path, { threads: 2 });
      t.equal(model.info.pooling, pooling);
      const { vectors } = await model.embed(texts);
      const worst = Math.max(...vectors.map((vector, i) => 1 - cosine(vector, theirs[i] as number[])));
      t.comment(`${architecture} ${pooling}: 1 - cosine at most ${worst.toExponential(2)}`);
      t.ok(worst <= maxDistance, `${pooling}: 1 - cosine ${worst} is at most ${maxDistance}`);
      for (const other of poolings.filter((each) => each !== pooling)) {
        const { vectors: wrong } = await model.embed(texts, { pooling: other });
        const least = Math.min(...wrong.map((vector, i) => 1 - cosine(vector, theirs[i] as number[])));
        t.ok(least >= minControl, `${other} in its place shows: ${least}`);
      }
      await model.dispose();
    }
  });
}
