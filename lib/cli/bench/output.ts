/** Bench rows as text: Markdown, CSV, ratios to an earlier run, profiles. */
import type { BaseRow, BenchProfile, BenchRow } from "../../bench/index.js";
import { ratioToBase } from "../../bench/index.js";

export type Cell<Row> = readonly [heading: string, value: (row: Row) => string];

/** `base`: rows of an earlier run; undefined: no comparison. */
export function toMarkdown(rows: readonly BenchRow[], title: string, base?: readonly BaseRow[]): string {
  const several = new Set(rows.map(({ engine }) => engine)).size > 1;
  const cells: Cell<BenchRow>[] = [
    ["test", ({ test }) => test],
    ...(several ? [["engine", ({ engine }) => engine] satisfies Cell<BenchRow>] : []),
    ["tokens/s", ({ tokens_per_second, spread }) => `${tokens_per_second.toFixed(2)} ± ${spread.toFixed(2)}`],
    ["of the ceiling", ({ share_of_ceiling: share }) => (share === null ? "" : `${(share * 100).toFixed(0)} %`)],
    ...(rows.some((row) => row.ffn_sparsity !== undefined) ? sparsityCells : []),
    ...(base ? [["÷ earlier", (row) => ratioText(ratioToBase(row, base))] satisfies Cell<BenchRow>] : []),
  ];
  const ratiosAfter = (row: BenchRow, i: number) => (rows[i + 1]?.test === row.test ? [] : ratioLines(rows, row.test));
  return toTable(rows, title, cells, several ? ratiosAfter : undefined);
}

const sparsityCells: Cell<BenchRow>[] = [
  ["channels kept", ({ realised_kept: kept }) => (kept === undefined ? "" : `${(kept * 100).toFixed(1)} %`)],
  ["MB a token", ({ bytes_per_token: bytes }) => (bytes === undefined ? "" : (bytes / 1e6).toFixed(1))],
  ["selection", ({ selection_share: share }) => (share === undefined ? "" : `${(share * 100).toFixed(1)} %`)],
];

/** `after`: lines that follow a row; their missing cells are empty. */
export function toTable<Row>(
  rows: readonly Row[],
  title: string,
  cells: readonly Cell<Row>[],
  after: (row: Row, i: number) => string[][] = () => [],
): string {
  const texts = new Set(["test", "engine"]);
  const line = (values: readonly string[]) => `| ${cells.map((_, i) => values[i] ?? "").join(" | ")} |\n`;
  const body = rows.flatMap((row, i) => [line(cells.map(([, value]) => value(row))), ...after(row, i).map(line)]);
  const rule = cells.map(([heading]) => (texts.has(heading) ? "---" : "---:"));
  return `${title}\n\n${line(cells.map(([heading]) => heading))}${line(rule)}${body.join("")}`;
}

/** Of each test Lutra's median ÷ that of every other engine. */
function ratioLines(rows: readonly BenchRow[], test: string): string[][] {
  const [ours, ...others] = rows.filter((row) => row.test === test);
  return others.map((other) => {
    const ratio = (ours?.tokens_per_second ?? Number.NaN) / other.tokens_per_second;
    return [test, `${ours?.engine} ÷ ${other.engine}`, ratioText(ratio)];
  });
}

export function ratioText(ratio: number | null): string {
  return ratio === null ? "" : `${ratio.toFixed(2)} ×`;
}

/** One line a row, for the eye beside another format. */
export function toRatios(rows: readonly BenchRow[], base: readonly BaseRow[]): string {
  return rows
    .map((row) => {
      const ratio = ratioToBase(row, base);
      const text = ratio === null ? "not in the earlier run" : `${ratioText(ratio)} the earlier run`;
      return `${row.test.padEnd(18)} ${row.engine.padEnd(15)} ${row.tokens_per_second.toFixed(1).padStart(9)} tokens/s  ${text}\n`;
    })
    .join("");
}

/** The columns of the JSON rows, but for the profile, which is no flat value. */
export function toCsv(rows: readonly BenchRow[]): string {
  if (rows.length === 0) return "";
  const quote = (value: unknown) => {
    const text = Array.isArray(value) ? value.join(" ") : String(value ?? "");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  // Rows of prompts lack what is told of generation.
  const names = new Set(rows.flatMap((row) => Object.keys(row) as (keyof BenchRow)[]));
  const keys = [...names].filter((key) => key !== "profile");
  return `${keys.join(",")}\n${rows.map((row) => `${keys.map((key) => quote(row[key])).join(",")}\n`).join("")}`;
}

/** A table for each row that has a profile. */
export function toProfiles(rows: readonly BenchRow[]): string {
  return rows.flatMap(({ test, profile }) => (profile ? [toProfile(test, profile)] : [])).join("\n");
}

function toProfile(test: string, { steps, step_us, js_share, operators }: BenchProfile): string {
  const script = js_share === null ? "" : `, TypeScript ${(js_share * 100).toFixed(1)} % of a step's time`;
  const lines = operators.map(
    ({ op, calls_per_step, us_per_step, share }) =>
      `| ${op} | ${calls_per_step.toFixed(1)} | ${us_per_step.toFixed(1)} | ${(share * 100).toFixed(1)} % |\n`,
  );
  const head = "| operator | calls a step | µs a step | share |\n| --- | ---: | ---: | ---: |\n";
  return `${test}: ${steps} steps of ${step_us.toFixed(0)} µs in native code${script}\n\n${head}${lines.join("")}`;
}
