/** Session images that no model made, for tests of the file alone, and files made of raw parts. */
import { createHash } from "node:crypto";
import type { SessionIdentity, SessionImage } from "../../dist/esm/session/index.js";

export const identity: SessionIdentity = {
  fingerprint: "0123456789abcdef".repeat(4),
  kvCacheType: "f16",
  pageBytes: 768,
  pagePositions: 32,
  nLayers: 3,
  nKvHeads: 2,
  headDim: 1,
  vocabSize: 1000,
};

/** Tokens and pages that depend on the seed in every byte. */
export function sessionImage(seed: number, tokens: number, computed = Math.max(0, tokens - 1)): SessionImage {
  const pages = new Uint8Array(Math.ceil(computed / identity.pagePositions) * identity.pageBytes);
  for (let i = 0; i < pages.length; i++) pages[i] = (Math.imul(i + 1, 2654435761) >>> 13) + seed;
  const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 31 + seed) % identity.vocabSize);
  return { identity, tokens: ids, computed, pages };
}

export const headerBytes = 224;
/** Offsets of the header's fields. */
export const at = {
  byteOrder: 8,
  version: 12,
  fileSize: 16,
  fingerprint: 24,
  kvCacheType: 56,
  pageBytes: 64,
  pagePositions: 72,
  nLayers: 80,
  nKvHeads: 88,
  headDim: 96,
  vocabSize: 104,
  tokens: 112,
  computed: 120,
  tokensSha256: 128,
  pagesSha256: 160,
  sha256: 192,
} as const;

/** The file after an edit by somebody who knows the format: the header's checksum is right again. */
export function forge(file: Buffer, edit: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(file);
  edit(bytes);
  createHash("sha256").update(bytes.subarray(0, at.sha256)).digest().copy(bytes, at.sha256);
  return bytes;
}
