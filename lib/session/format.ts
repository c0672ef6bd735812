/**
 * The session file, version 1: a header, the token ids, the K/V pages.
 *
 * | offset | bytes | |
 * |---|---|---|
 * | 0 | 8 | magic: 89 4c 55 54 53 45 53 0a |
 * | 8 | 4 | 0x01020304 in the byte order of the tokens and pages: that of the machine that wrote them |
 * | 12 | 4 | version |
 * | 16 | 8 | size of the file |
 * | 24 | 32 | fingerprint of the model file |
 * | 56 | 8 | K/V type, ASCII, filled up with zeros |
 * | 64 | 48 | page bytes, positions of a page, layers, K/V heads, head_dim, vocabulary size |
 * | 112 | 16 | token ids, positions whose K/V is in the pages |
 * | 128 | 64 | SHA-256 of the tokens, SHA-256 of the pages |
 * | 192 | 32 | SHA-256 of the 192 bytes before |
 * | 224 | 4 · tokens | token ids, int32 |
 * | … | page bytes · ⌈positions / positions of a page⌉ | pages, as engineReadPages gives them |
 *
 * Numbers of the header are little-endian, sizes and counts of 8 bytes. The header's checksum covers those of the other two
 * sections, so parts of different files cannot be put together. Checksums find accidents, not attackers: who writes a
 * valid file decides what its pages hold, so they must never answer for another request.
 *
 * A change of the engine that changes what K/V a model gives needs a new version here.
 */
import { createHash } from "node:crypto";
import { endianness } from "node:os";
import type { KvCacheType } from "../binding/native.js";
import { createError, describeValue } from "../errors.js";

/** What must be the same for pages to mean the same. */
export interface SessionIdentity {
  /** Of the model file: 64 hex digits, see fingerprint(). */
  fingerprint: string;
  /** `/lut`: of products by 8-bit tables. */
  kvCacheType: KvCacheType | `${KvCacheType}/lut`;
  pageBytes: number;
  pagePositions: number;
  nLayers: number;
  nKvHeads: number;
  headDim: number;
  vocabSize: number;
}

export interface SessionImage {
  identity: SessionIdentity;
  tokens: Int32Array;
  /** Positions [0, computed) are in the pages. */
  computed: number;
  pages: Uint8Array;
}

export interface SessionHeader {
  fileSize: number;
  identity: Omit<SessionIdentity, "kvCacheType"> & { kvCacheType: string };
  tokens: number;
  computed: number;
  tokensSha256: Uint8Array;
  pagesSha256: Uint8Array;
}

export const headerBytes = 224;
const magic = Buffer.from("894c55545345530a", "hex");
const version = 1;
const byteOrderMark = 0x01020304;
const swappedMark = 0x04030201;
const digestAt = 192;
const kvTypeBytes = 8;
const identityCounts = ["pageBytes", "pagePositions", "nLayers", "nKvHeads", "headDim", "vocabSize"] as const;

export function pagesOf(computed: number, pagePositions: number): number {
  return Math.ceil(computed / pagePositions);
}

export function encodeHeader(header: SessionHeader): Buffer {
  const { identity } = header;
  const bytes = Buffer.alloc(headerBytes);
  magic.copy(bytes);
  if (endianness() === "LE") bytes.writeUInt32LE(byteOrderMark, 8);
  else bytes.writeUInt32BE(byteOrderMark, 8);
  bytes.writeUInt32LE(version, 12);
  const counts = [...identityCounts.map((name) => identity[name]), header.tokens, header.computed];
  bytes.writeBigUInt64LE(BigInt(header.fileSize), 16);
  bytes.write(identity.fingerprint, 24, "hex");
  bytes.write(identity.kvCacheType, 56, kvTypeBytes, "latin1");
  counts.forEach((count, i) => void bytes.writeBigUInt64LE(BigInt(count), 64 + 8 * i));
  bytes.set(header.tokensSha256, 128);
  bytes.set(header.pagesSha256, 160);
  bytes.set(sha256(bytes.subarray(0, digestAt)), digestAt);
  return bytes;
}

/**
 * A header that says what it was written to say; nothing in it is believed yet. `bytes` are the file's first ones.
 * @throws SessionFileError: SESSION_BAD_MAGIC, SESSION_ENDIANNESS, SESSION_VERSION, SESSION_TRUNCATED, SESSION_CORRUPT
 */
export function decodeHeader(bytes: Buffer): SessionHeader {
  const start = bytes.subarray(0, magic.length);
  if (!start.equals(magic.subarray(0, start.length)))
    throw createError("SESSION_BAD_MAGIC", "not a session file: it does not start as one");
  if (bytes.length < headerBytes)
    throw createError("SESSION_TRUNCATED", `expected a header of ${headerBytes} bytes, got ${bytes.length} bytes`);
  const mark = endianness() === "LE" ? bytes.readUInt32LE(8) : bytes.readUInt32BE(8);
  if (mark === swappedMark)
    throw createError(
      "SESSION_ENDIANNESS",
      `written on a machine of the other byte order; this one is ${endianness()}`,
    );
  if (mark !== byteOrderMark) throw createError("SESSION_CORRUPT", "byte order: neither of the two marks");
  const found = bytes.readUInt32LE(12);
  if (found !== version) throw createError("SESSION_VERSION", `version: expected ${version}, got ${found}`);
  if (!bytes.subarray(digestAt).equals(sha256(bytes.subarray(0, digestAt))))
    throw createError("SESSION_CORRUPT", "header: wrong checksum");
  const count = (name: string, offset: number): number => {
    const value = bytes.readBigUInt64LE(offset);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw createError("SESSION_CORRUPT", `${name}: expected at most 2^53 - 1, got ${value}`);
    return Number(value);
  };
  const counts = identityCounts.map((name, i) => [name, count(name, 64 + 8 * i)]);
  return {
    fileSize: count("file size", 16),
    identity: {
      fingerprint: bytes.toString("hex", 24, 56),
      kvCacheType: bytes.toString("latin1", 56, 56 + kvTypeBytes).replace(/\0+$/, ""),
      ...(Object.fromEntries(counts) as Record<(typeof identityCounts)[number], number>),
    },
    tokens: count("tokens", 112),
    computed: count("computed positions", 120),
    tokensSha256: Uint8Array.from(bytes.subarray(128, 160)),
    pagesSha256: Uint8Array.from(bytes.subarray(160, 192)),
  };
}

/**
 * Believes a header: the same identity, numbers that agree with each other and with the real size of the file.
 * After this, what is allocated for the file is bounded by the context.
 * @throws SessionFileError: SESSION_MISMATCH, SESSION_TRUNCATED, SESSION_CORRUPT; ContextOverflowError
 */
export function checkHeader(
  header: SessionHeader,
  expected: SessionIdentity,
  { fileSize, contextSize }: { fileSize: number; contextSize: number },
): void {
  for (const field of Object.keys(expected) as (keyof SessionIdentity)[]) {
    const [wanted, found] = [expected[field], header.identity[field]];
    if (wanted === found) continue;
    const hint = field === "fingerprint" ? "; the session belongs to another model file" : "";
    throw createError(
      "SESSION_MISMATCH",
      `${field}: expected ${describeValue(wanted)}, got ${describeValue(found)}${hint}`,
    );
  }
  const { tokens, computed } = header;
  // An answer that filled the context has a last token that never ran: it stands one past the end.
  if (tokens > contextSize + 1 || Math.min(tokens, computed) > contextSize)
    throw createError(
      "CONTEXT_OVERFLOW",
      `the session has ${tokens} tokens, but the context holds ${contextSize}; load the model with a larger contextSize`,
    );
  if (computed > tokens)
    throw createError("SESSION_CORRUPT", `computed positions: expected at most ${tokens}, got ${computed}`);
  const size = sizeOf(tokens, computed, expected);
  if (header.fileSize !== size)
    throw createError(
      "SESSION_CORRUPT",
      `file size: expected ${size} for its contents, the header says ${header.fileSize}`,
    );
  if (fileSize < size) throw createError("SESSION_TRUNCATED", `expected ${size} bytes, got ${fileSize}`);
  if (fileSize > size)
    throw createError("SESSION_CORRUPT", `expected ${size} bytes, got ${fileSize}: something follows the pages`);
}

export function sizeOf(tokens: number, computed: number, identity: SessionIdentity): number {
  return headerBytes + 4 * tokens + pagesOf(computed, identity.pagePositions) * identity.pageBytes;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
