/** Pseudo-random integers below a bound, the same for the same seed, so that a random test can be run again. */
import { Random } from "./gguf-weights.js";

export function seeded(seed: number): (below: number) => number {
  const random = new Random(seed);
  return (below) => random.next() % below;
}
