/**
 * embed() on the two real models: against full precision, the same bits whatever runs beside it, and closer for
 * paraphrases than for unrelated sentences.
 *
 * test/fixtures/embeddings.json holds ids of two texts (the second longer than Gemma's sliding window) and their pooled
 * hidden states, before normalising, as base64 of little-endian floats. They come from a NumPy program that reads the
 * model file with the `gguf` package, dequantises every weight exactly and computes in float32: residual stream after
 * the last layer, output norm, then the mean over the rows, the first row, the last row.
 */
import { readFileSync } from "node:fs";
import t from "tap";
import { loadModel, type Model } from "../../dist/esm/index.js";
import { modelPath, type RealModelName } from "../support/models.js";
import { cosine, dot } from "../support/vectors.js";

interface Golden {
  ids: number[];
  mean: string;
  cls: string;
  last: string;
}

const golden = JSON.parse(readFileSync(new URL("../fixtures/embeddings.json", import.meta.url), "utf8")) as Record<
  RealModelName,
  Golden[]
>;
const poolings = ["mean", "cls", "last"] as const;
/** Relative, of vectors: found are 1e-4 to 4e-4; node-llama-cpp 3.22.1, last token, is 1.6e-2 to 7.5e-2 off. */
const maxDistance = 1e-3;

/** Sentence, paraphrase. */
const pairs = [
  ["The cat slept on the warm sofa all afternoon.", "All afternoon the cat was asleep on the cosy couch."],
  ["The company reported a large drop in its profits.", "Earnings of the firm fell sharply, it announced."],
  ["Heavy rain flooded the streets of the old town.", "The old town's streets were under water after strong rainfall."],
  ["She learned to play the piano when she was six.", "At the age of six she was taught to play the piano."],
  ["The doctor told him to stop smoking cigarettes.", "His physician advised him to give up cigarettes."],
  [
    "Astronomers discovered a new planet near a distant star.",
    "A new planet close to a faraway star was found by astronomers.",
  ],
  [
    "The recipe needs two eggs, flour and a cup of sugar.",
    "For this recipe you need flour, a cup of sugar and two eggs.",
  ],
  ["The train to Berlin was delayed by two hours.", "The Berlin train came two hours late."],
] as const;
const sentences = pairs.flat();

function decode(base64: string): Float32Array {
  const bytes = Buffer.from(base64, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

const prompt = "The capital of France is";
const greedy = { maxTokens: 24, temperature: 0, ignoreEos: true };

for (const name of ["smollm2-135m-instruct", "gemma-3-270m"] satisfies RealModelName[]) {
  t.test(name, async (t) => {
    const path = await modelPath(name);
    const model: Model = await loadModel(path, { threads: 2 });

    await t.test("is as good as full precision", async (t) => {
      for (const { ids, ...pooled } of golden[name]) {
        for (const pooling of poolings) {
          const { vectors } = await model.embed(ids, { pooling, normalize: false });
          const [found, expected] = [vectors[0] as Float32Array, decode(pooled[pooling])];
          const off = Float32Array.from(found, (x, i) => x - (expected[i] as number));
          const distance = Math.sqrt(dot(off, off) / dot(expected, expected));
          t.comment(`${ids.length} tokens, ${pooling}: relative distance ${distance.toExponential(2)}`);
          t.ok(distance <= maxDistance, `${pooling} of ${ids.length} tokens: ${distance} is at most ${maxDistance}`);
        }
      }
    });

    await t.test("paraphrases are closer than other sentences", async (t) => {
      const { vectors } = await model.embed(sentences);
      let nearest = 0;
      let margin = 0;
      for (const [i, vector] of vectors.entries()) {
        const partner = i ^ 1;
        const others = vectors.filter((_, j) => j !== i && j !== partner).map((other) => cosine(vector, other));
        const close = cosine(vector, vectors[partner] as Float32Array);
        if (close > Math.max(...others)) nearest++;
        margin += (close - others.reduce((sum, x) => sum + x, 0) / others.length) / vectors.length;
      }
      t.comment(`${nearest} of ${vectors.length} are nearest to their paraphrase; mean margin ${margin.toFixed(3)}`);
      t.ok(nearest >= 14, `${nearest} of ${vectors.length} sentences are nearest to their paraphrase`);
      t.ok(margin > 0.05, `mean margin ${margin}`);
    });

    await t.test("the same bits alone, together, beside a stream, and on one thread", async (t) => {
      const texts = [...sentences, golden[name][1]?.ids as number[]];
      const alone: Float32Array[] = [];
      for (const text of texts) alone.push((await model.embed(text)).vectors[0] as Float32Array);
      t.same((await model.embed(texts)).vectors, alone, "together");
      const text = await model.generate(prompt, greedy);
      const [beside, stream] = await Promise.all([model.embed([...texts, ...texts]), model.generate(prompt, greedy)]);
      t.same(beside.vectors, [...alone, ...alone], "beside a stream");
      t.same(stream.tokens, text.tokens, "and the stream is as if alone");
      const other = await loadModel(path, { threads: 1, maxSequences: 7 });
      t.same((await other.embed(texts)).vectors, alone, "on one thread, seven at once");
      await other.dispose();
    });

    await model.dispose();
  });
}
