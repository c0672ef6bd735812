/**
 * Draws the curves of a result file of quality.mjs, written beside it as <name>.svg: what each method costs by the share of
 * the layers' weights that it reads, so that methods which skip before one matrix and before seven stand on one scale. The
 * symbols of a curve are its shares kept. Prints the table that a page takes.
 *
 *   node bench/sparsity/plot.mjs bench/results/2026-11-22-sparsity-quality-smollm2-135m-instruct.json
 */
import { readFileSync, writeFileSync } from "node:fs";
import { init } from "echarts";
import { faint, ink, line, palette, paper, themed } from "../../dist/esm/bench/index.js";
import { markdownTable } from "../compare/table.mjs";

const [path] = process.argv.slice(2);
if (!path?.endsWith(".json")) {
  console.error("expected a result file of bench/sparsity/quality.mjs");
  process.exit(2);
}

const width = 860;
const panelHeight = 300;
/** Four lines of legend stand above. */
const panelTops = [194, 194 + panelHeight + 84];
const height = panelTops[1] + panelHeight + 62;
/** A logarithm has to end somewhere, and a difference of perplexity may be negative. */
const [leastDelta, leastKl] = [0.1, 1e-4];
const panels = [
  { heading: "Perplexity above exact, % (less than 0.1 drawn at 0.1)", of: ({ deltaPpl }) => Math.max(leastDelta, 100 * deltaPpl) },
  { heading: "Mean KL to exact, nats", of: ({ klMean }) => Math.max(leastKl, klMean) },
];

const { model, date, flags, rows } = JSON.parse(readFileSync(path, "utf8"));
const curves = [...new Set(rows.map(curveName))].map((name) => ({
  name,
  points: rows.filter((row) => curveName(row) === name).sort((a, b) => b.weightsRead - a.weightsRead),
}));
const out = path.replace(/\.json$/, ".svg");
writeFileSync(out, draw());
console.error(`written: ${out}`);
const toCells = (row) => [
  curveName(row),
  row.keep,
  percent(row.weightsRead, 0),
  `${row.deltaPpl < 0 ? "−" : "+"}${percent(Math.abs(row.deltaPpl), 1)}`,
  row.klMean.toPrecision(2),
  row.klP99.toPrecision(2),
  percent(row.top1Agreement, 1),
];
const columns = ["method", "kept", "layer weights read %", "Δ perplexity %", "mean KL", "99 % of KL", "same first choice %"];
console.log(markdownTable(columns, rows.map(toCells)));

function curveName({ method, option }) {
  return option.allocation === undefined ? method : `${method}, ${option.allocation}`;
}

function percent(share, digits) {
  return (100 * share).toFixed(digits);
}

function draw() {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  const tokens = rows[0].scored.toLocaleString("en");
  const subtext = `${tokens} tokens in windows of ${flags.contextSize}, every token masked but a window's first four; ${date.slice(0, 10)}`;
  const heading = (text, top, style) => ({ text, left: 20, top, textStyle: { color: ink.light, ...style } });
  chart.setOption({
    animation: false,
    backgroundColor: paper.light,
    title: [
      { ...heading(model, 14, { fontSize: 18 }), subtext, subtextStyle: { color: faint.light, fontSize: 12 } },
      ...panels.map((panel, i) => heading(panel.heading, panelTops[i] - 34, { fontSize: 13 })),
    ],
    legend: {
      data: curves.map(({ name }) => name),
      left: 20,
      right: 20,
      top: 64,
      itemGap: 14,
      textStyle: { color: ink.light, fontSize: 11 },
    },
    grid: panelTops.map((top) => ({ left: 64, right: 24, top, height: panelHeight })),
    xAxis: panels.map((_, gridIndex) => shareAxis(gridIndex)),
    yAxis: panels.map((panel, gridIndex) => costAxis(panel, gridIndex)),
    series: panels.flatMap((panel, i) => curves.map((curve) => seriesOf(curve, panel, i))),
  });
  const svg = themed(chart.renderToSVGString());
  chart.dispose();
  return svg;
}

function shareAxis(gridIndex) {
  const [low, high] = [Math.min, Math.max].map((of) => of(...rows.map(({ weightsRead }) => 100 * weightsRead)));
  return {
    type: "value",
    gridIndex,
    inverse: true,
    min: Math.floor(low / 10) * 10,
    max: Math.ceil(high / 10) * 10,
    name: "share of the layers' weights that a token reads, %",
    nameLocation: "middle",
    nameGap: 28,
    nameTextStyle: { color: faint.light },
    axisLabel: { color: faint.light },
    axisLine: { lineStyle: { color: faint.light } },
    splitLine: { lineStyle: { color: line.light } },
  };
}

function costAxis({ of }, gridIndex) {
  const values = rows.map(of);
  const power = (value, round) => 10 ** round(Math.log10(value));
  return {
    type: "log",
    gridIndex,
    min: power(Math.min(...values), Math.floor),
    max: power(Math.max(...values), Math.ceil),
    axisLabel: { color: faint.light, formatter: (value) => String(Number(value.toPrecision(2))) },
    splitLine: { lineStyle: { color: line.light } },
  };
}

/** A colour a method, the same with attention masked too but another symbol; dashed where every place keeps the same share. */
function seriesOf({ name, points }, { of }, axis) {
  const [{ method, option }] = points;
  const families = [...new Set(rows.map((row) => row.method.split("+")[0]))];
  const color = palette[families.indexOf(method.split("+")[0]) % palette.length];
  const dashed = option.allocation === "uniform";
  return {
    type: "line",
    name,
    xAxisIndex: axis,
    yAxisIndex: axis,
    data: points.map((row) => [100 * row.weightsRead, of(row)]),
    symbol: method.endsWith("+attention") ? "diamond" : "circle",
    symbolSize: 7,
    itemStyle: { color },
    lineStyle: { color, width: 2, type: dashed ? "dashed" : "solid" },
  };
}
