/**
 * The codebook file, version 1: a header, then the codebooks as native code made them.
 *
 * | offset | bytes | |
 * |---|---|---|
 * | 0 | 8 | magic: 89 4c 55 54 43 42 4b 0a |
 * | 8 | 4 | version |
 * | 12 | 4 | dimensions of a sub-vector |
 * | 16 | 8 | size of the file |
 * | 24 | 32 | fingerprint of the model file |
 * | 56 | 8 | kind, ASCII, filled up with zeros |
 * | 64 | 4 | dimensions of a head that are kept in 8 bits |
 * | 68 | 4 | 1 where the keys were trained as if the text filled a context, else 0 |
 * | 72 | 8 | that context's size, tokens of the text |
 * | 80 | 32 | SHA-256 of the text's token ids, int32 |
 * | 112 | 32 | SHA-256 of the codebooks |
 * | 144 | 32 | SHA-256 of the 144 bytes before |
 * | 176 | … | codebooks |
 *
 * Numbers are little-endian. The text may be anyone's: a file says how it was made, and is right for its model and for the
 * parameters that engines ask for (`dSub`, `outliers`). Checksums find accidents, not attackers; the engine checks the
 * codebooks again.
 *
 * A change of what native code writes or expects needs a new version here, which is a part of the default files' names: those
 * of another version are then not seen, and made anew.
 */
import { createHash } from "node:crypto";
import { createError, describeValue } from "../errors.js";

export const version = 1;
export const kind = "nomad";
export const headerBytes = 176;
/** Those of the largest models have some MiB. */
export const maxFileBytes = 256 << 20;

/** What engines ask of codebooks. */
export interface CodebookParameters {
  dSub: 1 | 2 | 4;
  /** Dimensions of a head that are kept in 8 bits. */
  outliers: number;
}

/** How codebooks were made. */
export interface Training {
  /** Whether the keys were trained as if the text filled a context of `contextSize` tokens. */
  spread: boolean;
  contextSize: number;
  /** Of the text that was used. */
  tokens: number;
  /** SHA-256 of its token ids. */
  textSha256: Uint8Array;
}

export interface CodebookImage {
  /** Of the model file: 64 hex digits. */
  fingerprint: string;
  parameters: CodebookParameters;
  training: Training;
  codebooks: Uint8Array;
}

const magic = Buffer.from("894c555443424b0a", "hex");
const digestAt = 144;
const kindBytes = 8;

export function encodeImage({ fingerprint, parameters, training, codebooks }: CodebookImage): Buffer {
  const bytes = Buffer.alloc(headerBytes + codebooks.length);
  magic.copy(bytes);
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(parameters.dSub, 12);
  bytes.writeBigUInt64LE(BigInt(bytes.length), 16);
  bytes.write(fingerprint, 24, "hex");
  bytes.write(kind, 56, kindBytes, "latin1");
  bytes.writeUInt32LE(parameters.outliers, 64);
  bytes.writeUInt32LE(training.spread ? 1 : 0, 68);
  bytes.writeUInt32LE(training.contextSize, 72);
  bytes.writeUInt32LE(training.tokens, 76);
  bytes.set(training.textSha256, 80);
  bytes.set(sha256(codebooks), 112);
  bytes.set(sha256(bytes.subarray(0, digestAt)), digestAt);
  bytes.set(codebooks, headerBytes);
  return bytes;
}

/** What a file is to be. */
export interface Expected {
  fingerprint: string;
  parameters: CodebookParameters;
}

/**
 * Believes a header, the file's first bytes, of a file of `fileSize` bytes. Nothing is allocated for what it claims before this.
 * @throws CodebookFileError
 */
export function checkHeader(bytes: Buffer, expected: Expected, fileSize: number): Training {
  const start = bytes.subarray(0, magic.length);
  if (!start.equals(magic.subarray(0, start.length)))
    throw createError("CODEBOOKS_BAD_MAGIC", "not a codebook file: it does not start as one");
  if (bytes.length < headerBytes)
    throw createError("CODEBOOKS_TRUNCATED", `expected a header of ${headerBytes} bytes, got ${bytes.length} bytes`);
  const found = bytes.readUInt32LE(8);
  if (found !== version) throw createError("CODEBOOKS_VERSION", `version: expected ${version}, got ${found}`);
  if (!bytes.subarray(digestAt, headerBytes).equals(sha256(bytes.subarray(0, digestAt))))
    throw createError("CODEBOOKS_CORRUPT", "header: wrong checksum");
  const size = bytes.readBigUInt64LE(16);
  if (BigInt(fileSize) < size) throw createError("CODEBOOKS_TRUNCATED", `expected ${size} bytes, got ${fileSize}`);
  if (BigInt(fileSize) > size || fileSize > maxFileBytes)
    throw createError("CODEBOOKS_CORRUPT", `expected ${size} bytes, ${maxFileBytes} at most, got ${fileSize}`);
  const same = (name: string, wanted: unknown, is: unknown, hint = ""): void => {
    if (wanted === is) return;
    const message = `${name}: expected ${describeValue(wanted)}, got ${describeValue(is)}${hint}`;
    throw createError("CODEBOOKS_MISMATCH", message);
  };
  same("kind", kind, bytes.toString("latin1", 56, 56 + kindBytes).replace(/\0+$/, ""));
  const hint = "; the codebooks belong to another model file";
  same("fingerprint", expected.fingerprint, bytes.toString("hex", 24, 56), hint);
  same("dSub", expected.parameters.dSub, bytes.readUInt32LE(12));
  same("outliers", expected.parameters.outliers, bytes.readUInt32LE(64));
  const [spread, contextSize, tokens] = [68, 72, 76].map((at) => bytes.readUInt32LE(at)) as [number, number, number];
  if (spread > 1) throw createError("CODEBOOKS_CORRUPT", `spread: expected 0 or 1, got ${spread}`);
  return { spread: spread === 1, contextSize, tokens, textSha256: Uint8Array.from(bytes.subarray(80, 112)) };
}

/** @throws CodebookFileError (CODEBOOKS_CORRUPT) */
export function checkCodebooks(header: Buffer, codebooks: Uint8Array): void {
  if (header.subarray(112, digestAt).equals(sha256(codebooks))) return;
  throw createError("CODEBOOKS_CORRUPT", "codebooks: wrong checksum");
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
