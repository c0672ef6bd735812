/**
 * Writes GGUF files, valid or not, byte for byte as asked. A file is a plain `GgufSpec`: metadata entries and tensors
 * in order; `encodeGguf` computes counts, lengths, offsets and padding unless the spec overrides them. Overrides are
 * how malformed files are made: everything not overridden stays right, so a test hits the one check it is about.
 *
 * `gguf-model.ts` builds specs of whole tiny models, `gguf-weights.ts` their random weights.
 *
 *   const spec = buildModel({ architecture: "llama", type: "Q4_0" });
 *   writeGguf(path, spec);                                     // a valid model
 *   writeGguf(path, { ...spec, override: { version: 4 } });    // refused: GGUF_VERSION
 *   writeParts(directory, "tiny", splitSpec(spec, 3));         // tiny-00001-of-00003.gguf …
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export const valueTypeIds = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
export type ValueTypeName = keyof typeof valueTypeIds;
export type ScalarTypeName = Exclude<ValueTypeName, "array">;

/** id, elements per block, bytes per block. */
export const tensorTypes = {
  F32: [0, 1, 4],
  F16: [1, 1, 2],
  Q4_0: [2, 32, 18],
  Q4_1: [3, 32, 20],
  Q5_0: [6, 32, 22],
  Q5_1: [7, 32, 24],
  Q8_0: [8, 32, 34],
  Q8_1: [9, 32, 36],
  Q2_K: [10, 256, 84],
  Q3_K: [11, 256, 110],
  Q4_K: [12, 256, 144],
  Q5_K: [13, 256, 176],
  Q6_K: [14, 256, 210],
  IQ2_XXS: [16, 256, 66],
  IQ4_NL: [20, 32, 18],
  IQ4_XS: [23, 256, 136],
  I32: [26, 1, 4],
  F64: [28, 1, 8],
  BF16: [30, 1, 2],
  TQ1_0: [34, 256, 54],
  TQ2_0: [35, 256, 66],
  MXFP4: [39, 32, 17],
} as const;
export type TensorTypeName = keyof typeof tensorTypes;

type Scalar = number | bigint | boolean | string | Uint8Array;

export type GgufValue =
  | { type: ScalarTypeName; value: Scalar }
  | { type: "array"; elementType: ScalarTypeName; values: readonly Scalar[] }
  /** Type id and bytes exactly as given. */
  | { typeId: number; raw: Uint8Array };

/** A key given as bytes is written as it is (for keys that are not UTF-8). */
export type GgufEntry = readonly [key: string | Uint8Array, value: GgufValue];

export interface GgufTensor {
  name: string;
  type: TensorTypeName;
  /** shape[0] is the row length. */
  shape: readonly number[];
  data: Uint8Array;
  /** What the directory says instead; the data stays where it belongs. */
  override?: { name?: Uint8Array; nDims?: number; dims?: readonly bigint[]; typeId?: number; offset?: bigint };
}

export interface GgufSpec {
  metadata: readonly GgufEntry[];
  tensors: readonly GgufTensor[];
  version?: number;
  /** Alignment of the data; written as general.alignment by `withAlignment`, not by itself. */
  alignment?: number;
  override?: {
    magic?: Uint8Array;
    version?: number;
    nTensors?: bigint;
    nMetadata?: bigint;
    /** Bytes after everything. */
    trailing?: Uint8Array;
    /** Leave out the padding after the last tensor. */
    unpadded?: boolean;
    /** Keep this many bytes; negative: cut so many from the end. */
    cutTo?: number;
  };
}

/** Shorthand constructors of metadata values. */
export const value = {
  u8: (v: number): GgufValue => ({ type: "u8", value: v }),
  u16: (v: number): GgufValue => ({ type: "u16", value: v }),
  i32: (v: number): GgufValue => ({ type: "i32", value: v }),
  u32: (v: number): GgufValue => ({ type: "u32", value: v }),
  u64: (v: bigint): GgufValue => ({ type: "u64", value: v }),
  f32: (v: number): GgufValue => ({ type: "f32", value: v }),
  bool: (v: boolean): GgufValue => ({ type: "bool", value: v }),
  string: (v: string | Uint8Array): GgufValue => ({ type: "string", value: v }),
  array: (elementType: ScalarTypeName, values: readonly Scalar[]): GgufValue => ({
    type: "array",
    elementType,
    values,
  }),
  raw: (typeId: number, raw: Uint8Array): GgufValue => ({ typeId, raw }),
};

/** Grows as it is written; little-endian throughout. */
export class ByteWriter {
  private bytes = new Uint8Array(4096);
  private view = new DataView(this.bytes.buffer);
  length = 0;

  /** Place of the next `size` bytes; may replace `bytes` and `view`, so it is called before they are named. */
  private room(size: number): number {
    const at = this.length;
    if (at + size > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.bytes.length * 2, at + size));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    this.length = at + size;
    return at;
  }

  u8(v: number): this {
    const at = this.room(1);
    this.view.setUint8(at, v);
    return this;
  }
  u16(v: number): this {
    const at = this.room(2);
    this.view.setUint16(at, v, true);
    return this;
  }
  u32(v: number): this {
    const at = this.room(4);
    this.view.setUint32(at, v, true);
    return this;
  }
  u64(v: bigint): this {
    const at = this.room(8);
    this.view.setBigUint64(at, BigInt.asUintN(64, v), true);
    return this;
  }
  f32(v: number): this {
    const at = this.room(4);
    this.view.setFloat32(at, v, true);
    return this;
  }
  f64(v: number): this {
    const at = this.room(8);
    this.view.setFloat64(at, v, true);
    return this;
  }
  raw(v: Uint8Array): this {
    const at = this.room(v.length);
    this.bytes.set(v, at);
    return this;
  }
  string(v: string | Uint8Array): this {
    const bytes = typeof v === "string" ? Buffer.from(v, "utf8") : v;
    return this.u64(BigInt(bytes.length)).raw(bytes);
  }
  padTo(alignment: number): this {
    while (this.length % alignment !== 0) this.u8(0);
    return this;
  }
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

function writeScalar(out: ByteWriter, type: ScalarTypeName, v: Scalar): void {
  switch (type) {
    case "u8":
    case "i8":
      out.u8(Number(v) & 0xff);
      break;
    case "bool":
      out.u8(v === true ? 1 : Number(v) & 0xff);
      break;
    case "u16":
    case "i16":
      out.u16(Number(v) & 0xffff);
      break;
    case "u32":
    case "i32":
      out.u32(Number(v) >>> 0);
      break;
    case "u64":
    case "i64":
      out.u64(BigInt(v as number | bigint));
      break;
    case "f32":
      out.f32(Number(v));
      break;
    case "f64":
      out.f64(Number(v));
      break;
    case "string":
      out.string(v as string | Uint8Array);
      break;
  }
}

function writeValue(out: ByteWriter, entry: GgufValue): void {
  if ("raw" in entry) {
    out.u32(entry.typeId).raw(entry.raw);
  } else if (entry.type === "array") {
    out.u32(valueTypeIds.array).u32(valueTypeIds[entry.elementType]).u64(BigInt(entry.values.length));
    for (const element of entry.values) writeScalar(out, entry.elementType, element);
  } else {
    out.u32(valueTypeIds[entry.type]);
    writeScalar(out, entry.type, entry.value);
  }
}

/** Bytes a tensor of this type and shape takes. */
export function tensorBytes(type: TensorTypeName, shape: readonly number[]): number {
  const [, blockElements, blockBytes] = tensorTypes[type];
  return (shape.reduce((product, dim) => product * dim, 1) / blockElements) * blockBytes;
}

const padded = (size: number, alignment: number): number => Math.ceil(size / alignment) * alignment;

function writeTensorInfos(out: ByteWriter, tensors: readonly GgufTensor[], alignment: number): void {
  let offset = 0;
  for (const tensor of tensors) {
    const { name, nDims, dims, typeId, offset: wrongOffset } = tensor.override ?? {};
    out.string(name ?? tensor.name).u32(nDims ?? tensor.shape.length);
    for (const dim of dims ?? tensor.shape) out.u64(BigInt(dim));
    out.u32(typeId ?? tensorTypes[tensor.type][0]).u64(wrongOffset ?? BigInt(offset));
    offset += padded(tensor.data.length, alignment);
  }
}

export function encodeGguf(spec: GgufSpec): Uint8Array {
  const { override = {}, alignment = 32, version = 3 } = spec;
  const out = new ByteWriter();
  out.raw(override.magic ?? Buffer.from("GGUF")).u32(override.version ?? version);
  out.u64(override.nTensors ?? BigInt(spec.tensors.length)).u64(override.nMetadata ?? BigInt(spec.metadata.length));
  for (const [key, entry] of spec.metadata) {
    out.string(key);
    writeValue(out, entry);
  }
  writeTensorInfos(out, spec.tensors, alignment);
  spec.tensors.forEach((tensor, index) => {
    out.padTo(alignment).raw(tensor.data);
    if (index === spec.tensors.length - 1 && !override.unpadded) out.padTo(alignment);
  });
  if (override.trailing) out.raw(override.trailing);
  const bytes = out.finish();
  if (override.cutTo === undefined) return bytes;
  return bytes.subarray(0, override.cutTo < 0 ? bytes.length + override.cutTo : override.cutTo);
}

export function writeGguf(path: string, spec: GgufSpec): string {
  writeFileSync(path, encodeGguf(spec));
  return path;
}

/** The spec with entries set (replaced in place or appended) or, with `undefined`, removed. */
export function withMetadata(spec: GgufSpec, changes: Record<string, GgufValue | undefined>): GgufSpec {
  const left = new Map(Object.entries(changes));
  const metadata: GgufEntry[] = [];
  for (const entry of spec.metadata) {
    const key = typeof entry[0] === "string" ? entry[0] : "";
    if (!left.has(key)) metadata.push(entry);
    else if (left.get(key)) metadata.push([key, left.get(key) as GgufValue]);
    left.delete(key);
  }
  for (const [key, entry] of left) if (entry) metadata.push([key, entry]);
  return { ...spec, metadata };
}

/** The spec with one tensor changed or, when `change` gives undefined, removed. */
export function withTensor(
  spec: GgufSpec,
  name: string,
  change: (tensor: GgufTensor) => GgufTensor | undefined,
): GgufSpec {
  if (!spec.tensors.some((tensor) => tensor.name === name)) throw new Error(`no tensor ${name}`);
  const tensors = spec.tensors.flatMap((tensor) => (tensor.name === name ? (change(tensor) ?? []) : tensor));
  return { ...spec, tensors };
}

export function withAlignment(spec: GgufSpec, alignment: number): GgufSpec {
  return { ...withMetadata(spec, { "general.alignment": value.u32(alignment) }), alignment };
}

export const partName = (name: string, number: number, count: number): string =>
  `${name}-${String(number).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;

/** The parts of a split model: all metadata in the first, tensors in runs of about equal number. */
export function splitSpec(spec: GgufSpec, count: number): GgufSpec[] {
  const split = (number: number): Record<string, GgufValue> => ({
    "split.no": value.u16(number),
    "split.count": value.u16(count),
    "split.tensors.count": value.i32(spec.tensors.length),
  });
  const share = Math.ceil(spec.tensors.length / count);
  return Array.from({ length: count }, (_, number) => {
    const part = { ...spec, tensors: spec.tensors.slice(number * share, (number + 1) * share) };
    return withMetadata(number === 0 ? part : { ...part, metadata: [], alignment: 32 }, split(number));
  });
}

/** Writes `name-0000i-of-0000N.gguf` for each part; returns the first one's path. */
export function writeParts(directory: string, name: string, parts: readonly GgufSpec[]): string {
  const paths = parts.map((part, i) => writeGguf(join(directory, partName(name, i + 1, parts.length)), part));
  return paths[0] as string;
}

export { buildModel, vocabularyOnly, type ModelOptions } from "./gguf-model.js";
