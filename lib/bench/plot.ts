/**
 * Rows as one SVG: a panel for prompts, a panel for generation, a bar for each test and engine with its spread as an error
 * bar. Drawn by echarts on the server side.
 */
import type { CustomSeriesOption, EChartsOption, GridComponentOption, SeriesOption } from "echarts";
import { faint, ink, line, palette, paper, themed } from "./plot-theme.js";
import type { BenchRow } from "./rows.js";

export interface PlotTitle {
  model: string;
  /** Machine, threads and whatever else the numbers depend on. */
  subtitle: string;
}

const width = 860;
const barPixels = 22;
const groupGapPixels = 16;
const headPixels = 108;
const panelHeadPixels = 34;
const panelFootPixels = 36;
const bars = { barCategoryGap: groupGapPixels, barGap: "14%" };

interface Panel {
  heading: string;
  tests: string[];
  rows: BenchRow[];
  top: number;
  height: number;
}

export async function plotRows(rows: readonly BenchRow[], { model, subtitle }: PlotTitle): Promise<string> {
  const { init } = await import("echarts");
  const engines = [...new Set(rows.map(({ engine }) => engine))];
  const panels = layOut(rows, engines.length);
  const height = panels.reduce((sum, panel) => sum + panelHeight(panel), headPixels - panelHeadPixels);
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    chart.setOption({
      animation: false,
      backgroundColor: paper.light,
      color: palette,
      title: [
        {
          text: model,
          subtext: subtitle,
          left: 20,
          top: 14,
          textStyle: { color: ink.light, fontSize: 18 },
          subtextStyle: { color: faint.light, fontSize: 12 },
        },
        ...panels.map(({ heading, top }) => ({
          text: heading,
          left: 20,
          top: top - panelHeadPixels,
          textStyle: { color: ink.light, fontSize: 13 },
        })),
      ],
      legend: { show: engines.length > 1, data: engines, right: 24, top: 18, textStyle: { color: ink.light } },
      ...axes(panels),
      series: panels.flatMap((panel, i) =>
        engines.flatMap((engine, e) => seriesOf(panel, i, engine, e, engines.length)),
      ),
    } satisfies EChartsOption);
    return themed(chart.renderToSVGString());
  } finally {
    chart.dispose();
  }
}

function layOut(rows: readonly BenchRow[], engines: number): Panel[] {
  const kinds: [string, (row: BenchRow) => boolean][] = [
    ["Prompt, tokens/s", ({ n_prompt }) => n_prompt > 0],
    ["Generation, tokens/s and share of the read ceiling", ({ n_gen }) => n_gen > 0],
  ];
  const panels: Panel[] = [];
  let top = headPixels;
  for (const [heading, belongs] of kinds) {
    const own = rows.filter(belongs);
    if (own.length === 0) continue;
    const tests = [...new Set(own.map(({ test }) => test))];
    const panel = { heading, tests, rows: own, top, height: tests.length * (engines * barPixels + groupGapPixels) };
    panels.push(panel);
    top += panelHeight(panel);
  }
  return panels;
}

function panelHeight({ height }: Panel): number {
  return height + panelFootPixels + panelHeadPixels;
}

function axes(panels: readonly Panel[]): Pick<EChartsOption, "grid" | "xAxis" | "yAxis"> {
  const longest = Math.max(...panels.flatMap(({ tests }) => tests.map((test) => test.length)));
  const grid: GridComponentOption[] = panels.map(({ top, height }) => ({
    left: 32 + 7 * longest,
    right: 24,
    top,
    height,
  }));
  return {
    grid,
    xAxis: panels.map(({ rows }, gridIndex) => ({
      type: "value" as const,
      gridIndex,
      // Room for the figures behind the bars.
      max: niceAbove(Math.max(...rows.map((row) => row.tokens_per_second + row.spread)) * 1.18),
      axisLabel: { color: faint.light },
      splitLine: { lineStyle: { color: line.light } },
    })),
    yAxis: panels.map(({ tests }, gridIndex) => ({
      type: "category" as const,
      gridIndex,
      inverse: true,
      data: tests,
      axisLabel: { color: ink.light, fontSize: 12 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: faint.light } },
    })),
  };
}

/** The smallest of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 × a power of ten that is not below. */
function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value) ?? 10);
}

/** The bars of one engine in one panel, and over them their error bars and figures. */
function seriesOf(panel: Panel, axis: number, engine: string, index: number, engines: number): SeriesOption[] {
  const rows = panel.tests.map((test) => panel.rows.find((row) => row.test === test && row.engine === engine));
  const where = { xAxisIndex: axis, yAxisIndex: axis };
  const marks: CustomSeriesOption = {
    type: "custom",
    ...where,
    z: 3,
    silent: true,
    data: rows.map((row, i) => [row ? row.tokens_per_second : 0, i]),
    renderItem: (params, api) => {
      const row = rows[params.dataIndex];
      const layout = api.barLayout?.({ count: engines, ...bars })?.[index];
      if (row === undefined || layout === undefined) return null;
      const [, middle] = api.coord([0, params.dataIndex]) as [number, number];
      const y = middle + layout.offsetCenter;
      const x = (speed: number) => (api.coord([speed, params.dataIndex]) as [number, number])[0];
      const [low, high] = [x(Math.max(0, row.tokens_per_second - row.spread)), x(row.tokens_per_second + row.spread)];
      const cap = layout.width / 5;
      const stroke = (x1: number, y1: number, x2: number, y2: number) => ({
        type: "line" as const,
        shape: { x1, y1, x2, y2 },
        style: { stroke: ink.light, lineWidth: 1.2 },
      });
      const text = { text: figure(row), x: high + 8, y, fill: ink.light, fontSize: 12 };
      return {
        type: "group",
        children: [
          stroke(low, y, high, y),
          stroke(low, y - cap, low, y + cap),
          stroke(high, y - cap, high, y + cap),
          { type: "text" as const, style: { ...text, verticalAlign: "middle" as const } },
        ],
      };
    },
  };
  const data = rows.map((row) => (row ? row.tokens_per_second : null));
  const color = palette[index % palette.length] as string;
  return [
    { type: "bar", name: engine, ...where, ...bars, data, itemStyle: { color, borderRadius: [0, 3, 3, 0] } },
    marks,
  ];
}

function figure({ tokens_per_second, share_of_ceiling }: BenchRow): string {
  const share = share_of_ceiling === null ? "" : `  ·  ${(share_of_ceiling * 100).toFixed(0)} %`;
  return `${tokens_per_second.toFixed(1)}${share}`;
}
