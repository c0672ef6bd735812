/**
 * Counter-based random numbers: a pure function of (seed, position, lane), so the same request draws the same numbers
 * whatever else runs beside it and however it is batched. Two independent chains of the 32-bit MurmurHash3 finaliser
 * (A. Appleby, public domain) over the key give 53 bits. Not for cryptography.
 */
import { randomFillSync } from "node:crypto";

const twoTo32 = 0x1_0000_0000;

function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function chain(start: number, low: number, high: number, position: number, lane: number): number {
  let h = mix(start ^ low);
  h = mix((h + 0x9e3779b9) ^ high);
  h = mix((h + 0x9e3779b9) ^ position);
  return mix((h + 0x9e3779b9) ^ lane) >>> 0;
}

/** A double in [0, 1) with 53 random bits. `seed` is an integer in [0, 2^53); `lane` separates draws at one position. */
export function uniform(seed: number, position: number, lane = 0): number {
  const low = (seed % twoTo32) | 0;
  const high = Math.floor(seed / twoTo32) | 0;
  const a = chain(0x243f6a88, low, high, position, lane);
  const b = chain(0x13198a2e, low, high, position, lane);
  return ((a >>> 5) * 0x400_0000 + (b >>> 6)) / 0x20_0000_0000_0000;
}

/** A seed of 53 bits from the system's generator. */
export function randomSeed(): number {
  const words = randomFillSync(new Uint32Array(2));
  return (words[0] as number) + ((words[1] as number) >>> 11) * twoTo32;
}
