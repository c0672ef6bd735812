// A draft tree in one step: branches are rows of further page tables, and find their ancestors' keys and values by
// mirrors. Every row's logits are the bits of its path fed alone, token by token.
import t, { type Test } from "tap";
import { binding, type StepArrays } from "../../dist/esm/binding/index.js";
import type { KvCacheType } from "../../dist/esm/binding/native.js";
import { pagePositions } from "../../dist/esm/limits.js";
import { createStepArrays } from "../../dist/esm/scheduler/index.js";
import { tinyModel } from "../support/models.js";

const vocabSize = 333;
const k = 16;
const pageStride = 3;
const maxRows = 128;
const slots = 6;

/** Tokens from position `from` on, behind what `parent` holds before it; the root's chain has parent -1. */
interface Chain {
  parent: number;
  from: number;
  tokens: number[];
}

/** Slot s, of chain s, has the pages from 3 s on for what it does not share. */
class TreeRunner {
  readonly #model: number;
  readonly engine: number;
  readonly arrays: StepArrays;

  constructor(path: string, kvType: KvCacheType, threads: number) {
    this.#model = binding.modelAcquire(path, 1, new Int32Array(1));
    const pages = pageStride * slots;
    const { isa } = binding.cpu();
    this.engine = binding.engineCreate(this.#model, { threads, maxRows, maxWanted: maxRows, pages, isa, kvType });
    const sizes = { maxSequences: slots, maxBranches: 0, pageStride, maxRows, maxWanted: maxRows, maxCandidates: k };
    const tables = Int32Array.from({ length: pages }, (_, page) => page);
    this.arrays = createStepArrays({ ...sizes, dim: 0 }, tables, new Int32Array(1));
    this.arrays.wants.fill(1);
    this.arrays.targets.fill(-1);
    this.arrays.mirrorRows = new Int32Array(maxRows * slots);
    this.arrays.mirrorPages = new Int32Array(maxRows * slots);
  }

  /** Each row's best candidates, and its log-sum-exp, which all its logits are in. */
  step(rows: number, mirrors = 0): number[][] {
    const wanted = binding.engineStep(this.engine, { rows, sequences: slots, pageStride, k, mirrors }, this.arrays);
    const { candidateIds, candidateLogits, logSumExp } = this.arrays;
    return Array.from({ length: wanted }, (_, w) => {
      const [begin, end] = [w * k, (w + 1) * k];
      return [...candidateIds.subarray(begin, end), ...candidateLogits.subarray(begin, end), logSumExp[w] as number];
    });
  }

  addRow(row: number, slot: number, position: number, token: number): void {
    this.arrays.tokens[row] = token;
    this.arrays.positions[row] = position;
    this.arrays.sequences[row] = slot;
  }

  /** `ids` in the first slot from `position` on, in one step or one by one. */
  feed(ids: readonly number[], position: number, chunk: number): number[][] {
    const answers: number[][] = [];
    for (let begin = 0; begin < ids.length; begin += chunk) {
      const part = ids.slice(begin, begin + chunk);
      for (const [i, id] of part.entries()) this.addRow(i, 0, position + begin + i, id);
      answers.push(...this.step(part.length));
    }
    return answers;
  }

  /** Other tokens wherever a tree could find its own from an earlier step. */
  fillPages(): void {
    const positions = pageStride * pagePositions;
    for (const page of this.arrays.pageTables.keys()) this.arrays.pageTables[page] = page;
    for (let slot = 0; slot < slots; slot++) {
      for (let i = 0; i < positions; i++) this.addRow(i, slot, i, (11 * i + 3) % vocabSize);
      this.step(positions);
    }
  }

  /** All chains behind `prompt` in one step: answers by chain. */
  runTree(prompt: readonly number[], chains: readonly Chain[], mirrored = true): number[][][] {
    const { pageTables, mirrorRows, mirrorPages } = this.arrays;
    this.fillPages();
    this.feed(prompt, 0, maxRows);
    const firstOwn = Math.floor(prompt.length / pagePositions);
    const pairs: number[] = [];
    for (let slot = 1; slot < chains.length; slot++) {
      for (let page = 0; page < firstOwn; page++) pageTables[slot * pageStride + page] = page;
      if (prompt.length % pagePositions !== 0) pairs.push(firstOwn, slot * pageStride + firstOwn);
    }
    binding.engineCopyPages(this.engine, Int32Array.from(pairs));
    let rows = 0;
    let mirrors = 0;
    for (const [slot, { from, tokens }] of chains.entries()) {
      for (const [i, token] of tokens.entries()) {
        const position = from + i;
        for (let other = 1; mirrored && other < chains.length; other++) {
          if (other === slot || !isAncestor(chains, slot, position, other)) continue;
          mirrorRows[mirrors] = rows;
          mirrorPages[mirrors++] = pageTables[other * pageStride + Math.floor(position / pagePositions)] as number;
        }
        this.addRow(rows++, slot, position, token);
      }
    }
    const answers = this.step(rows, mirrors);
    return chains.map(({ tokens }) => answers.splice(0, tokens.length));
  }

  dispose(): void {
    binding.engineRelease(this.engine);
    binding.modelRelease(this.#model);
  }
}

/** Whether the row of `chain` at `position` comes before the rows of `other`. */
function isAncestor(chains: readonly Chain[], chain: number, position: number, other: number): boolean {
  for (let at = other, end = Infinity; at >= 0; at = (chains[at] as Chain).parent) {
    if (at === chain) return position < end;
    end = Math.min(end, (chains[at] as Chain).from);
  }
  return false;
}

const someTokens = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => (13 * i + 29 * seed + 5) % vocabSize);

/** The tokens between the prompt and the end of a chain. */
function pathTo(chains: readonly Chain[], chain: number, prompt: number): number[] {
  const { parent, from, tokens } = chains[chain] as Chain;
  return parent < 0 ? tokens : [...pathTo(chains, parent, prompt).slice(0, from - prompt), ...tokens];
}

function checkTree(t: Test, runner: TreeRunner, prompt: readonly number[], chains: readonly Chain[]): void {
  const begin = prompt.length;
  const answers = runner.runTree(prompt, chains);
  // Whichever chain the next tokens follow, its own slot goes on.
  for (const [slot, { from, tokens }] of chains.entries()) runner.addRow(slot, slot, from + tokens.length, 7);
  const next = runner.step(chains.length);
  const blind = runner.runTree(prompt, chains, false);
  for (const [i, { from, tokens }] of chains.entries()) {
    const path = [...pathTo(chains, i, begin), 7];
    runner.feed(prompt, 0, maxRows);
    const alone = runner.feed(path, begin, 1).slice(from - begin);
    t.same(answers[i], alone.slice(0, tokens.length), `prompt of ${begin}, chain ${i}`);
    t.same(next[i], alone.at(-1), `prompt of ${begin}, chain ${i} goes on`);
    if (i > 0) t.notSame(blind[i], answers[i], `prompt of ${begin}, chain ${i} needs its mirrors`);
  }
}

for (const architecture of ["llama", "gemma3"] as const) {
  for (const kvType of ["f16", "q8_0"] as const) {
    t.test(`${architecture}, ${kvType}: every row as its path alone`, (t) => {
      const path = tinyModel({ architecture, vocabSize, headDim: 40, slidingWindow: 8 });
      for (const threads of [1, 3]) {
        const runner = new TreeRunner(path, kvType, threads);
        // Inside a page, across the end of one, and behind a full one, where nothing is copied.
        for (const length of [3, 29, 31, 32, 50]) {
          const chains = [
            { parent: -1, from: length, tokens: someTokens(6, 1) },
            { parent: 0, from: length + 3, tokens: someTokens(3, 2) },
            { parent: 0, from: length + 1, tokens: someTokens(1, 3) },
            { parent: 1, from: length + 5, tokens: someTokens(2, 4) },
          ];
          checkTree(t, runner, someTokens(length, 0), chains);
        }
        // More rows than one thread takes at a time.
        const long = [
          { parent: -1, from: 5, tokens: someTokens(70, 5) },
          { parent: 0, from: 70, tokens: someTokens(9, 6) },
        ];
        checkTree(t, runner, someTokens(5, 0), long);
        runner.dispose();
      }
      t.end();
    });
  }
}

t.test("wrong mirrors are refused by name", (t) => {
  const runner = new TreeRunner(tinyModel({ vocabSize }), "f16", 1);
  const { arrays } = runner;
  for (let row = 0; row < 3; row++) runner.addRow(row, 0, row, row);
  const refused = (rows: number[], pages: number[], message: RegExp): void => {
    arrays.mirrorRows.set(rows);
    arrays.mirrorPages.set(pages);
    t.throws(() => runner.step(3, rows.length), { code: "INVALID_OPTION", message }, String(message));
  };
  const pages = pageStride * slots;
  refused([0, 3], [4, 4], /mirrorRows\[1\]: expected ascending rows below 3, got 3/);
  refused([-1], [4], /mirrorRows\[0\]: .*got -1/);
  refused([0, 2, 1], [4, 4, 4], /mirrorRows\[2\]: .*got 1/);
  refused([0, 1], [4, pages], new RegExp(`mirrorPages\\[1\\]: expected a page below ${pages}, got ${pages}`));
  refused([0], [-1], /mirrorPages\[0\]: .*got -1/);
  const wrongType = (mirrors: unknown, message: RegExp): void => {
    t.throws(() => runner.step(3, mirrors as number), { name: "TypeError", message }, String(message));
  };
  wrongType(-1, /mirrors/);
  wrongType("2", /mirrors/);
  wrongType(arrays.mirrorRows.length + 1, /mirrorRows/);
  arrays.mirrorPages = new Int32Array(1);
  wrongType(2, /mirrorPages/);
  arrays.mirrorPages = [] as never;
  wrongType(0, /mirrorPages/);
  runner.dispose();
  t.end();
});

t.test("steps that the scratch has no room for are refused", (t) => {
  const runner = new TreeRunner(tinyModel({ vocabSize }), "f16", 1);
  runner.arrays.tokens = new Int32Array(maxRows + 1);
  const call = (rows: number): unknown => {
    const grown = { positions: Int32Array.from({ length: rows }, (_, i) => i), sequences: new Int32Array(rows) };
    Object.assign(runner.arrays, grown, { wants: new Uint8Array(rows), targets: new Int32Array(rows).fill(-1) });
    return runner.step(rows);
  };
  t.throws(() => call(maxRows + 1), { code: "INVALID_OPTION", message: `rows: expected at most ${maxRows}, got 129` });
  runner.dispose();
  t.end();
});
