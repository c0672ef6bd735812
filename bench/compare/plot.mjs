/**
 * Draws a result file of speed.mjs or llama-bench.mjs: one SVG a model, Lutra beside its peers, written beside the file
 * as <name>-<model>.svg. Legible on light and dark pages.
 *
 *   node bench/compare/plot.mjs bench/results/2026-11-22-compare.json
 */
import { readFileSync, writeFileSync } from "node:fs";
import { deviation, plotRows } from "../../dist/esm/bench/index.js";

const [path] = process.argv.slice(2);
if (!path?.endsWith(".json")) {
  console.error("expected a result file of bench/compare");
  process.exit(2);
}

/** Rows of speed.mjs, whose results hold one engine each. */
function rowsOfSpeed({ results }) {
  const row = (engine, test, { median, samples }, share) => ({
    test,
    n_prompt: test === "pp512" ? 512 : 0,
    n_gen: test === "tg128" ? 128 : 0,
    engine,
    tokens_per_second: median,
    spread: deviation(samples),
    share_of_ceiling: share,
  });
  return results.flatMap(({ engine, pp512, tg128, tg128ShareOfCeiling }) => [
    row(engine, "pp512", pp512, null),
    row(engine, "tg128", tg128, tg128ShareOfCeiling),
  ]);
}

const { date, machine, flags, models } = JSON.parse(readFileSync(path, "utf8"));
for (const model of models) {
  const rows = model.rows ?? rowsOfSpeed(model);
  const subtitle = `${machine.cpu}, ${flags.threads} threads, medians of ${flags.rounds} rounds, ${date.slice(0, 10)}`;
  const out = path.replace(/\.json$/, `-${model.model}.svg`);
  writeFileSync(out, await plotRows(rows, { model: model.file, subtitle }));
  console.error(`written: ${out}`);
}
