/**
 * Full logits of every position, computed by the peer: run as a process of its own, so that the two native engines
 * never share one.
 *
 *   node peer-logits.mjs <out> <model.gguf> <id,id,…>
 *
 * Writes `positions × vocabSize` little-endian floats to <out>; prints {"positions", "vocabSize"}.
 */
import { writeFileSync } from "node:fs";
import { startPeer } from "../../bench/compare/peer-folder.mjs";

const [out, modelPath, list] = process.argv.slice(2);
const ids = list.split(",").map(Number);

const llama = await startPeer(2);
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({ contextSize: Math.max(256, ids.length + 8), threads: 2 });
const sequence = context.getSequence();
const rows = await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]));

const vocabSize = rows[0].next.logits.size;
const logits = new Float32Array(ids.length * vocabSize).fill(Number.NaN);
rows.forEach((row, position) => {
  for (const [id, logit] of row.next.logits) logits[position * vocabSize + id] = logit;
});
writeFileSync(out, new Uint8Array(logits.buffer));
console.log(JSON.stringify({ positions: rows.length, vocabSize }));
await llama.dispose();
