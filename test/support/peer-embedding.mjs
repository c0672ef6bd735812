/**
 * Embeddings computed by the peer, pooled as the model file names it: run as a process of its own, so that the two
 * native engines never share one.
 *
 *   node peer-embedding.mjs <model.gguf> <id,id,…> <id,id,…> …
 *
 * The last line printed is a JSON list of vectors, one a text.
 */
import { startPeer } from "../../bench/compare/peer-folder.mjs";

const [modelPath, ...texts] = process.argv.slice(2);
const lists = texts.map((text) => text.split(",").map(Number));
const longest = Math.max(...lists.map((ids) => ids.length));

const llama = await startPeer(2);
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const size = Math.max(256, longest + 8);
const context = await model.createEmbeddingContext({ contextSize: size, batchSize: size, threads: 2 });
const vectors = [];
for (const ids of lists) {
  if (context.calculateInputLength([...ids]) !== ids.length) throw new Error("the peer adds tokens to these ids");
  vectors.push([...(await context.getEmbeddingFor(ids)).vector]);
}
console.log(JSON.stringify(vectors));
await llama.dispose();
