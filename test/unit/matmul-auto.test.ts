// `matmul: "auto"`: both forms of each kind of product are measured once on a machine, the faster one is used, and what was
// measured is kept, shown and never an answer's business.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import type { MatmulForm, MatmulInfo, MatmulTimes } from "../../dist/esm/types.js";
import { chooseForm } from "../../dist/esm/worker/index.js";
import { runCli } from "../support/run-cli.js";
import { tinyModel } from "../support/models.js";

process.env["LUTRA_CACHE"] = t.testdir({ cache: {} });
const cache = join(process.env["LUTRA_CACHE"], "matmul");

// Gate, up and down are large enough to be measured; what attends is not.
const path = tinyModel({
  type: "Q2_K",
  nHeads: 4,
  nKvHeads: 1,
  headDim: 64,
  dim: 256,
  hiddenDim: 1024,
  vocabSize: 333,
});
const kinds = ["Q2_K 1024x256", "Q2_K 256x1024"];

const times = (...us: [dot: number, lut: number][]): MatmulTimes[] =>
  us.map(([dotUs, lutUs], i) => ({ columns: 2 ** i, dotUs, lutUs }));
const named = ({ type, rows, cols }: MatmulForm): string => `${type} ${rows}x${cols}`;

async function load(more: object = {}): Promise<{ matmul: MatmulInfo; tokens: readonly number[]; logprobs: unknown }> {
  await using model = await loadModel(path, { maxSequences: 2, threads: 1, ...more });
  const options = { maxTokens: 8, temperature: 0, logprobs: 2, ignoreEos: true } as const;
  const { tokens, logprobs } = await model.generate([5, 9, 3], options);
  return { matmul: model.info.matmul, tokens, logprobs };
}

function formsOf(matmul: MatmulInfo): MatmulForm[] {
  return matmul.type === "auto" ? matmul.forms : [];
}

t.test("less time a row wins, by more than noise", (t) => {
  const kernel = (...us: [number, number][]) =>
    chooseForm({ type: "Q2_K", rows: 1, cols: 1, times: times(...us) }).kernel;
  t.equal(kernel([100, 90], [100, 90], [100, 90]), "lut");
  t.equal(kernel([100, 98], [100, 98], [100, 98]), "dot", "2 % is noise");
  t.equal(kernel([100, 60], [120, 130], [160, 180]), "lut", "one row counts as much as the four of a step of four");
  t.equal(kernel([100, 90], [100, 150], [100, 150]), "dot");
  t.end();
});

t.test("measured once, kept, and the same text", async (t) => {
  const dot = await load({ matmul: "dot" });
  t.same(dot.matmul, { type: "dot" });
  const first = await load();
  const forms = formsOf(first.matmul);
  t.same(forms.map(named).sort(), kinds);
  for (const form of forms) {
    t.same(
      form.times.map(({ columns }) => columns),
      [1, 2, 4],
    );
    t.ok(form.times.every(({ dotUs, lutUs }) => dotUs > 0 && lutUs > 0 && dotUs < 1e6 && lutUs < 1e6));
    t.same(form, chooseForm(form));
  }
  const [file] = readdirSync(cache);
  t.match(file, /^[0-9a-f]{32}\.json$/);
  const second = await load({ matmul: "auto", replicas: 2 });
  t.same(second.matmul, first.matmul, "nothing is measured again");
  for (const { tokens, logprobs } of [first, second])
    t.same({ tokens, logprobs }, { tokens: dot.tokens, logprobs: dot.logprobs });
  t.notSame((await load({ threads: 2 })).matmul, first.matmul, "other threads are another machine");
  t.equal(readdirSync(cache).length, 2);
});

t.test("the winner runs, a damaged file is measured anew", async (t) => {
  const dot = await load({ matmul: "dot" });
  const { matmul } = await load();
  const place = readdirSync(cache)
    .map((name) => join(cache, name))
    .find(
      (file) =>
        JSON.stringify(formsOf(matmul).map(({ kernel: _, ...rest }) => rest)) === readFileSync(file, "utf8").trim(),
    );
  if (place === undefined) return t.fail("no file holds what was measured");
  const fixed = (lutUs: number) =>
    kinds.map((kind) => {
      const [rows, cols] = (kind.split(" ")[1] as string).split("x").map(Number);
      return { type: "Q2_K", rows, cols, times: times([100, lutUs], [100, lutUs], [100, lutUs]) };
    });
  for (const [lutUs, kernel] of [
    [50, "lut"],
    [150, "dot"],
  ] as const) {
    writeFileSync(place, JSON.stringify(fixed(lutUs)));
    const loaded = await load();
    t.same(
      formsOf(loaded.matmul).map((form) => form.kernel),
      [kernel, kernel],
    );
    t.same([loaded.tokens, loaded.logprobs], [dot.tokens, dot.logprobs], `by ${kernel}`);
    const { stdout } = await runCli(["inspect", path, "-t", "1", "--json"]);
    const { tensors, matmul: shown } = JSON.parse(stdout) as {
      tensors: { name: string; kernel: string }[];
      matmul: { forms: unknown[] };
    };
    t.equal(tensors.find(({ name }) => name === "blk.0.ffn_gate.weight")?.kernel, kernel);
    t.equal(
      tensors.find(({ name }) => name === "blk.0.attn_q.weight")?.kernel,
      "dot",
      "small weights are not measured",
    );
    t.match(shown.forms, [{ kernel, times: [{ columns: 1, dot_us: 100, lut_us: lutUs }] }]);
    t.match((await runCli(["inspect", path, "-t", "1"])).stdout, new RegExp(`^ +Q2_K 1024 × 256 +${kernel} `, "m"));
  }
  for (const damaged of ["", "{", "[1]", JSON.stringify([{ ...fixed(50)[0], rows: "1024" }])]) {
    writeFileSync(place, damaged);
    const forms = formsOf((await load()).matmul);
    t.same(forms.map(named).sort(), kinds, `${JSON.stringify(damaged)}: measured`);
    t.notOk(forms.some(({ times: [first] }) => first?.dotUs === 100));
    t.not(readFileSync(place, "utf8"), damaged, "and kept");
  }
});

t.test("what native code refuses to measure", (t) => {
  const probe = (type: string, cols: number, columns: number[], isa = binding.cpu().isa) =>
    binding.probeProducts(type, 64, cols, Int32Array.from(columns), { isa, threads: 1 });
  t.equal(probe("Q8_0", 256, [1]).length, 0, "no tables");
  t.equal(probe("Q4_0", 256, [1, 4]).length, 4);
  t.equal(probe("Q4_0", 1 << 22, [1]).length, 0, "a tile larger than the weights to rotate over");
  t.throws(() => probe("Q9_9", 256, [1]), { name: "TypeError", message: /type: expected/ });
  for (const [cols, columns] of [
    [255, [1]],
    [256, [0]],
    [256, [5]],
    [256, [-1]],
    [256, []],
  ] as [number, number[]][])
    t.throws(() => probe("Q4_0", cols, columns), { code: "INVALID_OPTION" }, `${cols}, ${columns}`);
  t.end();
});
