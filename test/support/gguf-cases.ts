/**
 * Malformed files a format reader must refuse, with the code each must get: classes G1–G6, G8, G10–G13 and G17 of the
 * catalogue of bad inputs, plus neighbours that must be accepted ("OK"), so that no check is stricter than the format.
 * What only a model can judge (G7, G9, G14–G16) is in gguf-model-cases.ts.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  buildModel,
  ByteWriter,
  encodeGguf,
  partName,
  splitSpec,
  value,
  vocabularyOnly,
  withAlignment,
  withMetadata,
  withTensor,
  writeGguf,
  writeParts,
  type GgufEntry,
  type GgufSpec,
  type GgufTensor,
  type GgufValue,
} from "./gguf-builder.js";

export interface FileCase {
  /** Class and what is wrong. */
  name: string;
  /** Error code, or "OK". */
  code: string;
  /** Text the message must hold. */
  says?: string;
  /** Writes the file; gives the path to open, or undefined when this machine cannot make it. */
  make(directory: string): string | undefined;
}

const base = buildModel();
const all = (byte: number, size: number): Uint8Array => new Uint8Array(size).fill(byte);
const text = (s: string): Uint8Array => Buffer.from(s, "latin1");
const u64 = (v: bigint): Uint8Array => new ByteWriter().u64(v).finish();
const arrayOf = (elementType: number, count: bigint, bytes: Uint8Array = new Uint8Array(0)): GgufValue =>
  value.raw(9, new ByteWriter().u32(elementType).u64(count).raw(bytes).finish());

const bytes = (name: string, code: string, content: Uint8Array, says?: string): FileCase => ({
  name,
  code,
  says,
  make(directory) {
    const path = join(directory, "case.gguf");
    writeFileSync(path, content);
    return path;
  },
});
const spec = (name: string, code: string, content: GgufSpec, says?: string): FileCase =>
  bytes(name, code, encodeGguf(content), says);
const entry = (name: string, code: string, key: string | Uint8Array, content: GgufValue, says?: string): FileCase =>
  spec(name, code, { ...base, metadata: [[key, content], ...base.metadata] }, says);
/** The first tensor's directory entry changed. */
const tensor = (name: string, code: string, override: GgufTensor["override"], says?: string): FileCase =>
  spec(
    name,
    code,
    withTensor(base, "blk.0.attn_q.weight", (t) => ({ ...t, override })),
    says,
  );

const openCases: FileCase[] = [
  bytes("G1 empty file", "GGUF_TRUNCATED", new Uint8Array(0)),
  ...[1, 3, 4, 7, 8, 15, 23].map((size) =>
    spec(`G1 ${size} bytes`, "GGUF_TRUNCATED", { ...base, override: { cutTo: size } }),
  ),
  { name: "G1 nothing there", code: "E_IO", make: (directory) => join(directory, "absent.gguf") },
  { name: "G1 directory", code: "E_IO", says: "a directory", make: (directory) => directory },
  { name: "G1 device", code: "E_IO", says: "a device", make: () => "/dev/zero" },
  {
    name: "G1 FIFO",
    code: "E_IO",
    says: "a FIFO",
    make(directory) {
      const path = join(directory, "fifo");
      execFileSync("mkfifo", [path]);
      return path;
    },
  },
  {
    name: "G1 no permission",
    code: "E_IO",
    make(directory) {
      if (process.getuid?.() === 0) return undefined;
      const path = writeGguf(join(directory, "case.gguf"), base);
      chmodSync(path, 0);
      return path;
    },
  },
];

const safetensors = new ByteWriter()
  .u64(64n)
  .raw(text(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`.padEnd(68)))
  .finish();
const headerCases: FileCase[] = [
  bytes("G2 other bytes", "GGUF_BAD_MAGIC", all(0x41, 4096)),
  bytes("G2 zeros", "GGUF_BAD_MAGIC", all(0, 4096), "zeros"),
  bytes("G2 GGML", "GGUF_BAD_MAGIC", text("lmgg".padEnd(64)), "GGML"),
  bytes("G2 GGJT", "GGUF_BAD_MAGIC", text("tjgg".padEnd(64)), "GGJT"),
  bytes("G2 zip", "GGUF_BAD_MAGIC", text("PK\x03\x04".padEnd(64)), "zip"),
  bytes("G2 safetensors", "GGUF_BAD_MAGIC", safetensors, "safetensors"),
  bytes("G2 HTML", "GGUF_BAD_MAGIC", text("\n<!DOCTYPE html><html></html>"), "HTML"),
  bytes("G2 LFS pointer", "GGUF_BAD_MAGIC", text("version https://git-lfs.github.com/spec/v1\n"), "LFS"),
  spec("G2 swapped magic", "GGUF_BIG_ENDIAN", { ...base, override: { magic: text("FUGG") } }),
  ...[0, 1, 4, 0xffffffff].map((version) =>
    spec(`G3 version ${version}`, "GGUF_VERSION", { ...base, override: { version } }, `found ${version}`),
  ),
  spec("G3 swapped version", "GGUF_BIG_ENDIAN", { ...base, override: { version: 0x03000000 } }),
  spec("version 2", "OK", { ...base, version: 2 }),
  ...[-1n, 1n << 31n, (1n << 63n) - 1n, 1n << 32n].flatMap((count) => [
    spec(`G4 ${count} tensors`, "GGUF_BAD_VALUE", { ...base, override: { nTensors: count } }, "tensor count"),
    spec(`G4 ${count} entries`, "GGUF_BAD_VALUE", { ...base, override: { nMetadata: count } }, "metadata count"),
  ]),
  spec(
    "G4 more tensors than the file could hold",
    "GGUF_TRUNCATED",
    { ...base, override: { nTensors: 200000n } },
    "tensor count",
  ),
  spec(
    "G4 more entries than the file could hold",
    "GGUF_TRUNCATED",
    { ...base, override: { nMetadata: 60000n } },
    "metadata count",
  ),
];

const stringCases: FileCase[] = [
  entry("G5 empty key", "GGUF_BAD_VALUE", "", value.u32(1)),
  entry("G5 NUL in key", "GGUF_BAD_VALUE", "a\0b", value.u32(1), "\\x00"),
  entry("G5 key not UTF-8", "GGUF_BAD_VALUE", Uint8Array.of(0x61, 0xc0, 0x80), value.u32(1), "UTF-8"),
  entry("G5 surrogate in key", "GGUF_BAD_VALUE", Uint8Array.of(0xed, 0xa0, 0x80), value.u32(1), "UTF-8"),
  entry("G5 key of 64 KiB + 1", "GGUF_BAD_VALUE", "k".repeat(65537), value.u32(1), "65537"),
  entry("key of 64 KiB", "OK", "k".repeat(65536), value.u32(1)),
  entry("key in UTF-8", "OK", "clé.日本", value.u32(1)),
  ...[1n << 63n, -1n, -8n, (1n << 26n) + 1n].map((length) =>
    entry(`G5 string length ${length}`, "GGUF_BAD_VALUE", "test.key", value.raw(8, u64(length)), "test.key"),
  ),
  entry("G5 string longer than the file", "GGUF_TRUNCATED", "test.key", value.raw(8, u64(10_000_000n)), "test.key"),
  entry("empty string", "OK", "test.key", value.string("")),
  entry("string of 10 MB", "OK", "test.key", value.string("x".repeat(10_000_000))),
  entry("string with any bytes", "OK", "test.key", value.string(Uint8Array.of(0, 0xff, 0xc0))),
];

const valueCases: FileCase[] = [
  ...[13, 255, 0x80000000].map((id) =>
    entry(`G6 value type ${id}`, "GGUF_BAD_VALUE", "test.key", value.raw(id, all(0, 8)), `${id}`),
  ),
  entry("G6 nested array", "GGUF_BAD_VALUE", "test.key", arrayOf(9, 1n, all(0, 64)), "nested"),
  entry("G6 element type 13", "GGUF_BAD_VALUE", "test.key", arrayOf(13, 1n, all(0, 64)), "13"),
  ...[1n << 61n, 1n << 63n, -1n].flatMap((count) => [
    entry(`G6 u64 array of ${count}`, "GGUF_BAD_VALUE", "test.key", arrayOf(10, count)),
    entry(`G6 string array of ${count}`, "GGUF_BAD_VALUE", "test.key", arrayOf(8, count)),
  ]),
  entry("G6 u64 array of 128 MiB", "GGUF_BAD_VALUE", "test.key", arrayOf(10, 1n << 24n), "at most 8388608"),
  entry("G6 array longer than the file", "GGUF_TRUNCATED", "test.key", arrayOf(4, 1_000_000n)),
  entry("G6 bool 7", "GGUF_BAD_VALUE", "test.key", value.raw(7, Uint8Array.of(7)), "found 7"),
  entry("G6 bool 2 in an array", "GGUF_BAD_VALUE", "test.key", arrayOf(7, 3n, Uint8Array.of(0, 1, 2)), "found 2"),
  entry("empty array", "OK", "test.key", value.array("f32", [])),
  entry("array of bool", "OK", "test.key", value.array("bool", [true, false])),
  entry("G8 duplicate key", "GGUF_DUPLICATE", "general.name", value.string("again"), "found two"),
  entry("G8 key in other letter case", "GGUF_DUPLICATE", "General.Name", value.string("again"), "case"),
  spec(
    "G8 duplicate tensor",
    "GGUF_DUPLICATE",
    withTensor(base, "blk.0.attn_q.weight", (t) => ({ ...t, override: { name: text("output.weight") } })),
    "output.weight",
  ),
  ...[0, 3, 48, 1 << 17, 0x80000000].map((alignment) =>
    entry(
      `G10 alignment ${alignment}`,
      "GGUF_BAD_VALUE",
      "general.alignment",
      value.u32(alignment),
      "general.alignment",
    ),
  ),
  entry("G10 alignment as u64", "GGUF_BAD_VALUE", "general.alignment", value.u64(32n), "u64"),
  entry("G10 alignment as string", "GGUF_BAD_VALUE", "general.alignment", value.string("32"), "string"),
  spec("alignment 8", "OK", withAlignment(base, 8)),
  spec("alignment 64 KiB", "OK", withAlignment(base, 65536)),
];

const quantised = buildModel({ type: "Q4_0" });
const oddRow = withTensor(quantised, "blk.0.attn_q.weight", (t) => ({ ...t, override: { dims: [48n, 64n] } }));
const lastEnd = encodeGguf({ ...quantised, override: { unpadded: true } }).length;
const tensorCases: FileCase[] = [
  ...[0, 5, 0xffffffff].map((nDims) => tensor(`G11 ${nDims} dimensions`, "GGUF_BAD_TENSOR", { nDims }, `${nDims}`)),
  ...[0n, -1n, 1n << 63n].map((dim) =>
    tensor(`G11 dimension ${dim}`, "GGUF_BAD_TENSOR", { dims: [64n, dim] }, "dimension 1"),
  ),
  tensor("G11 product overflows", "GGUF_BAD_TENSOR", { dims: [1n << 32n, 1n << 32n] }),
  tensor("G11 bytes overflow", "GGUF_BAD_TENSOR", { dims: [1n << 31n, 1n << 31n] }),
  tensor("G11 padding overflows", "GGUF_BAD_TENSOR", { dims: [(1n << 61n) - 1n, 1n] }),
  spec("G11 row not whole blocks", "GGUF_BAD_TENSOR", oddRow, "multiple of 32"),
  tensor("G11 empty name", "GGUF_BAD_TENSOR", { name: new Uint8Array(0) }),
  tensor("G11 name not UTF-8", "GGUF_BAD_TENSOR", { name: Uint8Array.of(0xff) }),
  ...[4, 5, 31, 40, 0xffffffff].map((typeId) =>
    tensor(`G12 type ${typeId}`, "MODEL_UNSUPPORTED_TYPE", { typeId }, `id ${typeId}`),
  ),
  tensor("G13 offset unaligned", "GGUF_BAD_TENSOR", { offset: 81921n }, "alignment"),
  tensor("G13 offset overlaps", "GGUF_BAD_TENSOR", { offset: 0n }),
  tensor("G13 offset leaves a gap", "GGUF_BAD_TENSOR", { offset: 1n << 20n }),
  tensor("G13 offset wraps", "GGUF_BAD_TENSOR", { offset: -32n }),
  spec(
    "G13 last tensor cut by one byte",
    "GGUF_TRUNCATED",
    { ...quantised, override: { cutTo: lastEnd - 1 } },
    "output.weight",
  ),
  spec("last tensor not padded", "OK", { ...quantised, override: { cutTo: lastEnd } }),
  spec("G13 trailing bytes", "GGUF_BAD_TENSOR", { ...quantised, override: { trailing: all(1, 1) } }, "after it"),
  spec("G13 trailing page", "GGUF_BAD_TENSOR", { ...quantised, override: { trailing: all(0, 4096) } }),
  spec("no tensors", "OK", vocabularyOnly()),
  spec("G13 bytes after a vocabulary", "GGUF_BAD_TENSOR", { ...vocabularyOnly(), override: { trailing: all(0, 64) } }),
];

/** A split model of three parts, changed before or after it is written. */
function split(
  name: string,
  code: string,
  says: string,
  change: (parts: GgufSpec[]) => void,
  after?: (path: (n: number) => string) => string | undefined,
): FileCase {
  return {
    name,
    code,
    says,
    make(directory) {
      const parts = splitSpec(base, 3);
      change(parts);
      const first = writeParts(directory, "tiny", parts);
      return after?.((number) => join(directory, partName("tiny", number, 3))) ?? first;
    },
  };
}
const set =
  (number: number, key: string, v: GgufValue | undefined) =>
  (parts: GgufSpec[]): void => {
    parts[number] = withMetadata(parts[number] as GgufSpec, { [key]: v });
  };
const keep = (): void => undefined;
const splitCases: FileCase[] = [
  split("three parts", "OK", "", keep),
  split("G17 part missing", "GGUF_SPLIT", "00002-of-00003", keep, (path) => {
    rmSync(path(2));
    return undefined;
  }),
  split("G17 part is a directory", "E_IO", "a directory", keep, (path) => {
    rmSync(path(3));
    mkdirSync(path(3));
    return undefined;
  }),
  split("G17 opened at the second part", "GGUF_SPLIT", "00001-of-00003", keep, (path) => path(2)),
  split("G17 parts swapped", "GGUF_SPLIT", "split.no", (parts) => {
    parts.splice(1, 2, parts[2] as GgufSpec, parts[1] as GgufSpec);
  }),
  split("G17 first part swapped", "GGUF_SPLIT", "part 2", (parts) => {
    parts.splice(0, 2, parts[1] as GgufSpec, parts[0] as GgufSpec);
  }),
  split("G17 count in the first part", "GGUF_SPLIT", "split.count", set(0, "split.count", value.u16(4))),
  split("G17 count in another part", "GGUF_SPLIT", "split.count", set(2, "split.count", value.u16(2))),
  split("G17 number missing", "GGUF_SPLIT", "split.no", set(1, "split.no", undefined)),
  split("G17 number of another type", "GGUF_SPLIT", "split.no", set(1, "split.no", value.string("1"))),
  split("G17 number negative", "GGUF_SPLIT", "split.no", set(1, "split.no", value.i32(-1))),
  split("G17 tensor total", "GGUF_SPLIT", "split.tensors.count", set(0, "split.tensors.count", value.i32(22))),
  split("G17 tensor total missing", "GGUF_SPLIT", "split.tensors.count", set(0, "split.tensors.count", undefined)),
  split("G17 part of another model", "GGUF_SPLIT", "split.tensors.count", (parts) => {
    parts[1] = splitSpec(buildModel({ nLayers: 3 }), 3)[1] as GgufSpec;
  }),
  split("G17 same part twice", "GGUF_SPLIT", "different models", (parts) => {
    const [, second, third] = parts as [GgufSpec, GgufSpec, GgufSpec];
    parts[2] = { ...third, tensors: second.tensors.slice(0, third.tensors.length) };
  }),
  split("G17 no split metadata in the first part", "GGUF_SPLIT", "split.count", (parts) => {
    parts[0] = withMetadata(parts[0] as GgufSpec, {
      "split.no": undefined,
      "split.count": undefined,
      "split.tensors.count": undefined,
    });
  }),
  split("G17 first part renamed", "GGUF_SPLIT", "file name", keep, (path) => {
    const renamed = path(1).replace("tiny-00001-of-00003", "other");
    copyFileSync(path(1), renamed);
    return renamed;
  }),
  split("G17 part cut short", "GGUF_TRUNCATED", "00002-of-00003", (parts) => {
    parts[1] = { ...(parts[1] as GgufSpec), override: { cutTo: -64 } };
  }),
];

const manyKeys: GgufEntry[] = Array.from({ length: 60000 }, (_, i) => [`k.${i}`, value.u8(1)]);
const sizeCases: FileCase[] = [spec("60,000 keys", "OK", { metadata: manyKeys, tensors: [] })];

export const fileCases: readonly FileCase[] = [
  ...openCases,
  ...headerCases,
  ...stringCases,
  ...valueCases,
  ...tensorCases,
  ...splitCases,
  ...sizeCases,
];
