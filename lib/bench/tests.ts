/** What a bench measures: tests made of lists, their names, and the token ids they run on. */
import { limits } from "../limits.js";

export interface BenchTest {
  /** pp: the prompt's evaluation. tg: the generation of tokens after it. */
  kind: "pp" | "tg";
  /** Measured tokens of one stream. */
  n: number;
  /** Tokens in each stream's context before the measured ones. */
  depth: number;
  /** Streams that run together. */
  batch: number;
}

export interface TestLists {
  nPrompt: readonly number[];
  nGen: readonly number[];
  nDepth: readonly number[];
  batch: readonly number[];
}

/** Every combination; a length of 0 measures nothing. */
export function listTests({ nPrompt, nGen, nDepth, batch }: TestLists): BenchTest[] {
  return nDepth.flatMap((depth) =>
    batch.flatMap((streams) => [
      ...nPrompt.filter((n) => n > 0).map((n) => ({ kind: "pp" as const, n, depth, batch: streams })),
      ...nGen.filter((n) => n > 0).map((n) => ({ kind: "tg" as const, n, depth, batch: streams })),
    ]),
  );
}

/** `pp512`, `tg128 b4`, `tg128 @ d4096`, `tg128 b4 @ d4096`. */
export function testName({ kind, n, depth, batch }: BenchTest): string {
  return `${kind}${n}${batch > 1 ? ` b${batch}` : ""}${depth > 0 ? ` @ d${depth}` : ""}`;
}

/** Ids that a stream's prompt holds. Generation starts from one token at least. */
export function promptLength({ kind, n, depth }: BenchTest): number {
  return kind === "pp" ? depth + n : Math.max(depth, 1);
}

/**
 * Tokens that a stream of a generation test asks for: the measured ones, one that belongs to the prompt's step, and what
 * the first stream may generate while the prompts of the others are still being evaluated.
 */
export function generatedLength(test: BenchTest): number {
  const steps = Math.ceil((test.batch * promptLength(test)) / limits.leastPrefillRows);
  return test.n + 1 + (test.batch > 1 ? steps + test.batch : 0);
}

/** Positions of a context that holds one stream of each of these tests. */
export function neededContext(tests: readonly BenchTest[]): number {
  return Math.max(...tests.map((test) => promptLength(test) + (test.kind === "tg" ? generatedLength(test) : 2)));
}

/** The same ordinary token ids in every process, others in every round and stream: no prefix is ever there to be reused. */
export function streamPrompts(test: BenchTest, vocabSize: number, round: number): number[][] {
  return Array.from({ length: test.batch }, (_, stream) =>
    randomIds(Math.imul(round, 0x85ebca6b) ^ Math.imul(stream, 0xc2b2ae35), promptLength(test), vocabSize),
  );
}

/** Ids from the middle of a vocabulary; every seed has others from the first on. */
export function randomIds(seed: number, length: number, vocabSize: number): number[] {
  const low = Math.floor(vocabSize / 8);
  let state = (0x9e3779b9 ^ seed) >>> 0;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return low + Math.floor((state / 2 ** 32) * (vocabSize - 2 * low));
  });
}
