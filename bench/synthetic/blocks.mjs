/**
 * Random blocks of every tensor type: uniform codes under scales near sigma / spread, so that decoded weights have about
 * the standard deviation sigma and a mean near zero.
 *
 * Blocks come out of one pool per type and sigma, repeated. Its number of blocks is a prime that no row length of a
 * model divides by, so rows of a matrix differ, and writing costs what the disk costs.
 */

/** A half-precision scale (`scale: 1`) or min (a factor of it) at a byte offset of the block. */
const half = (at, factor = 1) => ({ at, factor });

/**
 * Of each type: id and `fileType` as GGUF numbers them, elements and bytes of a block, the standard deviation of a
 * decoded weight when the scale is 1, and its half-precision fields or the place of its exponent byte. Every other byte
 * is random.
 */
export const types = {
  Q4_0: { id: 2, fileType: 2, elements: 32, bytes: 18, spread: 4.6, halves: [half(0)] },
  Q4_1: { id: 3, fileType: 3, elements: 32, bytes: 20, spread: 4.6, halves: [half(0), half(2, -7.5)] },
  Q5_0: { id: 6, fileType: 8, elements: 32, bytes: 22, spread: 9.2, halves: [half(0)] },
  Q5_1: { id: 7, fileType: 9, elements: 32, bytes: 24, spread: 9.2, halves: [half(0), half(2, -15.5)] },
  Q8_0: { id: 8, fileType: 7, elements: 32, bytes: 34, spread: 74, halves: [half(0)] },
  Q2_K: { id: 10, fileType: 10, elements: 256, bytes: 84, spread: 15, halves: [half(80), half(82, 1.5)] },
  Q3_K: { id: 11, fileType: 11, elements: 256, bytes: 110, spread: 42, halves: [half(108)] },
  Q4_K: { id: 12, fileType: 14, elements: 256, bytes: 144, spread: 256, halves: [half(0), half(2, 7.5)] },
  Q5_K: { id: 13, fileType: 16, elements: 256, bytes: 176, spread: 520, halves: [half(0), half(2, 15.5)] },
  Q6_K: { id: 14, fileType: 18, elements: 256, bytes: 210, spread: 1370, halves: [half(208)] },
  IQ4_NL: { id: 20, fileType: 25, elements: 32, bytes: 18, spread: 70, halves: [half(0)] },
  IQ4_XS: { id: 23, fileType: 30, elements: 256, bytes: 136, spread: 1300, halves: [half(0)] },
  TQ1_0: { id: 34, fileType: 36, elements: 256, bytes: 54, spread: 0.82, halves: [half(52)] },
  TQ2_0: { id: 35, fileType: 37, elements: 256, bytes: 66, spread: 1.22, halves: [half(64)] },
  MXFP4: { id: 39, fileType: 38, elements: 32, bytes: 17, spread: 2.9, exponent: 0 },
  F16: { id: 1, fileType: 1, elements: 1, bytes: 2 },
  BF16: { id: 30, fileType: 32, elements: 1, bytes: 2 },
  F32: { id: 0, fileType: 0, elements: 1, bytes: 4 },
};

const poolBytes = 4 << 20;

/** xorshift32: the same seed gives the same file on every machine. */
function randomWords(count, seed) {
  const words = new Uint32Array(count);
  let state = Math.imul(seed, 0x9e3779b9) | 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return words;
}

const floatBits = new DataView(new ArrayBuffer(4));

/** Half-precision bits of a finite |x| < 65504, the mantissa cut off: a random scale needs no rounding. */
function toHalf(x) {
  floatBits.setFloat32(0, Math.abs(x));
  const bits = floatBits.getUint32(0);
  const exponent = (bits >>> 23) - 127;
  const mantissa =
    exponent < -14 ? Math.floor(Math.abs(x) * 2 ** 24) : ((exponent + 15) << 10) | ((bits >>> 13) & 0x3ff);
  return (x < 0 ? 0x8000 : 0) | mantissa;
}

function primeBelow(limit) {
  const prime = (n) => {
    for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
    return true;
  };
  let n = limit;
  while (!prime(n)) n--;
  return n;
}

function floatPool(name, count, sigma, words) {
  const pool = new DataView(new ArrayBuffer(count * types[name].bytes));
  for (let i = 0; i < count; i++) {
    const weight = (words[i] / 2 ** 31 - 1) * sigma * Math.sqrt(3);
    if (name === "F32") pool.setFloat32(i * 4, weight, true);
    else if (name === "F16") pool.setUint16(i * 2, toHalf(weight), true);
    else {
      floatBits.setFloat32(0, weight);
      pool.setUint16(i * 2, floatBits.getUint16(0), true);
    }
  }
  return new Uint8Array(pool.buffer);
}

/** Whole blocks of a type, as one run of bytes to be repeated. */
export function blockPool(name, sigma, seed) {
  const { bytes, spread, halves = [], exponent } = types[name];
  const count = primeBelow(Math.floor(poolBytes / bytes));
  if (!spread) return floatPool(name, count, sigma, randomWords(count, seed));
  const words = randomWords(Math.ceil((count * bytes) / 4), seed);
  const view = new DataView(words.buffer);
  for (let block = 0; block < count; block++) {
    const byte = view.getUint8(block * bytes + (halves[0]?.at ?? exponent));
    // Codes of a type without a min are off centre by half a step: scales of both signs take that away.
    const sign = halves.length === 1 && byte & 1 ? -1 : 1;
    const scale = sign * (sigma / spread) * (0.75 + byte / 512);
    for (const { at, factor } of halves) view.setUint16(block * bytes + at, toHalf(scale * factor), true);
    // Of the two powers of two around sigma / spread, the nearer the more often.
    if (exponent !== undefined)
      view.setUint8(block * bytes + exponent, 127 + Math.floor(Math.log2(sigma / spread) + byte / 256));
  }
  return new Uint8Array(words.buffer, 0, count * bytes);
}

/** The parts of the pool, views of it, that make `size` bytes from block `first` on. */
export function* repeatPool(pool, blockBytes, first, size) {
  let at = (first % (pool.length / blockBytes)) * blockBytes;
  for (let left = size; left > 0; ) {
    const part = pool.subarray(at, Math.min(pool.length, at + left));
    yield part;
    left -= part.length;
    at = 0;
  }
}

/** A norm's vector: values around 1. */
export function normVector(size, seed) {
  return new Uint8Array(Float32Array.from(randomWords(size, seed), (word) => 0.9 + (0.2 * word) / 2 ** 32).buffer);
}
