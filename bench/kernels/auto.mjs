/**
 * What `matmul: "auto"` chooses for each kind of weights of some models, and what the choice costs: every kind is probed
 * several times; the first probe chooses, as a load does, and the medians of all the others say how much faster the form it
 * did not choose would have been: for what it goes by (the time a row, summed over 1, 2 and 4 rows), and for each number of
 * rows. Writes bench/results/<date>-matmul-auto.json.
 *
 *   npm run build:all && node bench/kernels/auto.mjs 7 MODEL.gguf…
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { binding } from "../../dist/esm/binding/index.js";
import { chooseForm, settleMatmul } from "../../dist/esm/worker/index.js";
import { describeRun, writeResults } from "../compare/machine.mjs";

const root = join(fileURLToPath(import.meta.url), "..", "..", "..");
const [rounds, ...paths] = process.argv.slice(2);
const { isa, threads } = binding.cpu();

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const timeARow = (form, of) => form.times.reduce((sum, times) => sum + of(times) / times.columns, 0);

const rows = [];
for (const path of paths) {
  const control = new Int32Array(8);
  const probe = () => settleMatmul(binding, { matmul: { type: "auto", forms: [] }, path, isa, threads, control }).forms;
  const [first, ...others] = Array.from({ length: Number(rounds) }, probe);
  for (const [i, { type, rows: n, cols, kernel }] of first.entries()) {
    const forms = others.map((forms) => forms[i]);
    const times = first[i].times.map(({ columns }, j) => ({
      columns,
      dotUs: median(forms.map((form) => form.times[j].dotUs)),
      lutUs: median(forms.map((form) => form.times[j].lutUs)),
    }));
    const form = chooseForm({ type, rows: n, cols, times });
    const lossOf = (dot, lut) => Math.max(0, (kernel === "lut" ? lut / dot : dot / lut) - 1);
    const loss = lossOf(
      timeARow(form, (each) => each.dotUs),
      timeARow(form, (each) => each.lutUs),
    );
    const losses = times.map(({ dotUs, lutUs }) => lossOf(dotUs, lutUs));
    const model = path.split("/").at(-1);
    rows.push({ model, type, rows: n, cols, kernel, loss, losses, times });
    const shown = [loss, ...losses].map((value) => (100 * value).toFixed(1));
    console.log(`${model} ${type} ${n}x${cols}: ${kernel}, loss ${shown[0]} % (${shown.slice(1).join(", ")} % at 1, 2, 4 rows)`);
  }
}
writeResults(root, "matmul-auto", { ...describeRun(root), flags: { rounds, isa, threads }, rows });
