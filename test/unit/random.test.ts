/** Counter-based random numbers: repeatable, uniform, and independent across positions, seeds and lanes. */
import t from "tap";
import { randomSeed, uniform } from "../../dist/esm/sampling/index.js";

/** χ² of `draws` numbers over `bins` equal bins. */
function chiSquare(next: (i: number) => number, draws: number, bins: number): number {
  const counts = new Array<number>(bins).fill(0);
  for (let i = 0; i < draws; i++) counts[Math.floor(next(i) * bins)]!++;
  const expected = draws / bins;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** 255 degrees of freedom: mean 255, σ 22.6; 5 σ is 368. */
const bound = 368;

t.test("same key, same number; golden values hold across releases", async (t) => {
  for (const [seed, position, lane] of [
    [0, 0, 0],
    [42, 7, 0],
    [2 ** 53 - 1, 1_000_000, 3],
  ] as const) {
    t.equal(uniform(seed, position, lane), uniform(seed, position, lane));
  }
  t.equal(uniform(42, 7), 0.6712936578809596);
  t.equal(uniform(2 ** 53 - 1, 1_000_000, 3), 0.8846304820784602);
});

t.test("in [0, 1), with 53 bits", async (t) => {
  let fine = 0;
  for (let i = 0; i < 10_000; i++) {
    const u = uniform(1, i);
    if (u < 0 || u >= 1) t.fail(`${u} is out of range`);
    if ((u * 2 ** 53) % 2 === 1) fine++;
  }
  t.ok(fine > 4_700 && fine < 5_300, `the lowest bit is set in ${fine} of 10,000`);
});

t.test("uniform along positions, seeds, high seed bits and lanes", async (t) => {
  const streams: [string, (i: number) => number][] = [
    ["positions", (i) => uniform(1234, i)],
    ["positions of seed 0", (i) => uniform(0, i)],
    ["seeds", (i) => uniform(i, 5)],
    ["high seed bits", (i) => uniform(i * 2 ** 32, 5)],
    ["seed = position", (i) => uniform(i, i)],
    ["lanes", (i) => uniform(9, 9, i)],
    ["low bits", (i) => (uniform(77, i) * 2 ** 20) % 1],
  ];
  for (const [name, next] of streams) {
    const chi = chiSquare(next, 65_536, 256);
    t.ok(chi < bound && chi > 255 - 5 * 22.6, `${name}: χ² ${chi.toFixed(1)}`);
  }
});

t.test("neighbours are independent: pairs fill the square evenly", async (t) => {
  for (const [name, other] of [
    ["next position", (i: number) => uniform(3, i + 1)],
    ["next seed", (i: number) => uniform(4, i)],
    ["high bit of the seed", (i: number) => uniform(3 + 2 ** 52, i)],
    ["next lane", (i: number) => uniform(3, i, 1)],
  ] as const) {
    const cell = (i: number) => (Math.floor(uniform(3, i) * 16) * 16 + Math.floor(other(i) * 16)) / 256;
    t.ok(chiSquare(cell, 65_536, 256) < bound, name);
  }
});

t.test("no two positions or seeds share a number (53 bits: a collision in 10^5 is no accident)", async (t) => {
  const seen = new Set<number>();
  for (let i = 0; i < 50_000; i++) {
    seen.add(uniform(5, i));
    seen.add(uniform(i + 6, 5));
  }
  t.equal(seen.size, 100_000);
});

t.test("random seeds are safe integers and differ", async (t) => {
  const seeds = Array.from({ length: 100 }, randomSeed);
  t.equal(new Set(seeds).size, 100);
  t.ok(seeds.every((seed) => Number.isSafeInteger(seed) && seed >= 0));
  t.ok(seeds.some((seed) => seed > 2 ** 52));
});
