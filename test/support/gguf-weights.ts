/**
 * Seeded random weights in any tensor type: uniformly random quants under scales chosen so that the decoded weights
 * have about the wanted standard deviation and a mean near zero. Activations of a model made of them stay finite.
 */
import { ByteWriter, tensorBytes, tensorTypes, type TensorTypeName } from "./gguf-builder.js";

/** Small, fast, seeded generator: the same seed gives the same file on every machine. */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  /** Uniform 32-bit integer (mulberry32). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (x ^ (x >>> 14)) >>> 0;
  }
  /** Uniform in [0, 1). */
  unit(): number {
    return this.next() / 4294967296;
  }
  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.unit();
  }
  bytes(size: number): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.next() >>> 24);
  }
}

const floatBits = new DataView(new ArrayBuffer(4));

/** Nearest half-precision bits, ties to even, subnormals kept. */
export function toHalf(x: number): number {
  floatBits.setFloat32(0, x);
  const bits = floatBits.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = Math.abs(Math.fround(x));
  if (Number.isNaN(magnitude)) return 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = magnitude < 2 ** -14 ? -14 : Math.floor(Math.log2(magnitude));
  const scaled = magnitude / 2 ** (exponent - 10);
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const mantissa = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  // A mantissa of 2048 carries into the exponent by plain addition; subnormals have exponent field 0.
  return sign | (mantissa + ((exponent + 14) << 10));
}

/** Upper half of the float, ties to even. */
export function toBfloat(x: number): number {
  floatBits.setFloat32(0, x);
  const bits = floatBits.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/**
 * Layout of a quantised block, field by field: `d` a half-precision scale of about sigma / spread, `e` the byte of a
 * power of two near it, `m` a half that is -offset times it (`dmin` +offset times it), or a number of random bytes.
 */
type Field = "d" | "e" | { m: number } | { dmin: number } | number;
interface Layout {
  /** Standard deviation of a decoded weight when d = 1. */
  spread: number;
  fields: readonly Field[];
}

const layouts: Partial<Record<TensorTypeName, Layout>> = {
  Q4_0: { spread: 4.6, fields: ["d", 16] },
  Q4_1: { spread: 4.6, fields: ["d", { m: 7.5 }, 16] },
  Q5_0: { spread: 9.2, fields: ["d", 4, 16] },
  Q5_1: { spread: 9.2, fields: ["d", { m: 15.5 }, 4, 16] },
  Q8_0: { spread: 74, fields: ["d", 32] },
  Q2_K: { spread: 15, fields: [16, 64, "d", { dmin: 1.5 }] },
  Q3_K: { spread: 42, fields: [32, 64, 12, "d"] },
  Q4_K: { spread: 256, fields: ["d", { dmin: 7.5 }, 12, 128] },
  Q5_K: { spread: 520, fields: ["d", { dmin: 15.5 }, 12, 32, 128] },
  Q6_K: { spread: 1370, fields: [128, 64, 16, "d"] },
  IQ4_NL: { spread: 70, fields: ["d", 16] },
  IQ4_XS: { spread: 1300, fields: ["d", 2, 4, 128] },
  TQ1_0: { spread: 0.8, fields: [52, "d"] },
  TQ2_0: { spread: 1.2, fields: [64, "d"] },
  MXFP4: { spread: 2.9, fields: ["e", 16] },
};

/** A tensor's bytes with weights of about standard deviation `sigma`. Types without a layout get random bytes. */
export function randomTensor(type: TensorTypeName, shape: readonly number[], sigma: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const out = new ByteWriter();
  const size = tensorBytes(type, shape);
  const elements = shape.reduce((product, dim) => product * dim, 1);
  const layout = layouts[type];
  if (type === "F32" || type === "F16" || type === "BF16") {
    for (let i = 0; i < elements; i++) {
      const weight = random.between(-1, 1) * sigma * Math.sqrt(3);
      if (type === "F32") out.f32(weight);
      else out.u16(type === "F16" ? toHalf(weight) : toBfloat(weight));
    }
    return out.finish();
  }
  if (!layout) return random.bytes(size);
  for (let block = 0; block < size / tensorTypes[type][2]; block++) {
    const d = (sigma / layout.spread) * random.between(0.75, 1.25);
    for (const field of layout.fields) {
      if (typeof field === "number") out.raw(random.bytes(field));
      else if (field === "d") out.u16(toHalf(d));
      else if (field === "e") out.u8(127 + Math.round(Math.log2(d)));
      else out.u16(toHalf("m" in field ? -field.m * d : field.dmin * d));
    }
  }
  return out.finish();
}

/** An F32 vector around `center`: norm weights (1), biases (0). */
export function randomVector(size: number, center: number, spread: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const out = new ByteWriter();
  for (let i = 0; i < size; i++) out.f32(center + random.between(-spread, spread));
  return out.finish();
}

/** The vector's bytes with element `index` replaced: for NaN and infinity. */
export function withFloat(data: Uint8Array, index: number, x: number): Uint8Array {
  const copy = data.slice();
  new DataView(copy.buffer).setFloat32(index * 4, x, true);
  return copy;
}
