/** Logits and embeddings of the peer engine for a model file, and distances between two engines' rows of logits. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { installedPeer } from "../../bench/compare/peer-folder.mjs";

const script = (name: string): string => join(dirname(fileURLToPath(import.meta.url)), name);

/** Why a comparison with the peer cannot run here, or false. */
export const skipWithoutPeer: string | false =
  installedPeer() === null && "node-llama-cpp is not installed: node bench/compare/install-peer.mjs";

const lastLineOf = (stdout: string): unknown => JSON.parse(stdout.trim().split("\n").at(-1) ?? "");

/** One vector a text, pooled as the file names it. */
export async function peerEmbeddings(path: string, texts: readonly number[][]): Promise<number[][]> {
  const lists = texts.map((ids) => ids.join(","));
  const { stdout } = await promisify(execFile)(process.execPath, [script("peer-embedding.mjs"), path, ...lists], {
    maxBuffer: 1 << 28,
  });
  return lastLineOf(stdout) as number[][];
}

/** One row of logits a position. */
export async function peerLogits(path: string, ids: readonly number[]): Promise<Float32Array[]> {
  const out = `${path}.logits`;
  const { stdout } = await promisify(execFile)(process.execPath, [script("peer-logits.mjs"), out, path, ids.join(",")]);
  const { positions, vocabSize } = lastLineOf(stdout) as { positions: number; vocabSize: number };
  const bytes = readFileSync(out);
  const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return Array.from({ length: positions }, (_, row) => all.subarray(row * vocabSize, (row + 1) * vocabSize));
}

export interface RowDistance {
  meanKl: number;
  maxKl: number;
  /** Share of rows with the same best token. */
  top1: number;
  /** Mean entropy of the reference, in nats. */
  entropy: number;
}

function logSoftmax(logits: Float32Array): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const logSumExp = max + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - logSumExp);
}

const argmax = (row: Float64Array): number => row.reduce((best, x, i) => (x > (row[best] as number) ? i : best), 0);

/** KL(reference ‖ other) over the whole vocabulary, row by row. */
export function distance(reference: readonly Float32Array[], other: readonly Float32Array[]): RowDistance {
  if (reference.length === 0 || reference.length !== other.length) throw new Error("rows differ in number");
  const total: RowDistance = { meanKl: 0, maxKl: 0, top1: 0, entropy: 0 };
  reference.forEach((logits, row) => {
    const p = logSoftmax(logits);
    const q = logSoftmax(other[row] as Float32Array);
    if (p.length !== q.length) throw new Error(`vocabularies of ${p.length} and ${q.length}`);
    let kl = 0;
    p.forEach((logP, id) => {
      kl += Math.exp(logP) * (logP - (q[id] as number));
      total.entropy -= (Math.exp(logP) * logP) / reference.length;
    });
    total.meanKl += kl / reference.length;
    // NaN must not pass as small.
    total.maxKl = Number.isNaN(kl) ? kl : Math.max(total.maxKl, kl);
    if (argmax(p) === argmax(q)) total.top1 += 1 / reference.length;
  });
  return total;
}
