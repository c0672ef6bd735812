/** Bench rows as a Markdown table or as CSV. */
import type { ModelInfo } from "../types.js";
import type { BenchRow } from "./bench.js";

export function toMarkdown(rows: readonly BenchRow[], { name, isa }: Pick<ModelInfo, "name" | "isa">): string {
  const [first] = rows;
  const lines = rows.map(({ test, tokens_per_second, spread, share_of_ceiling }) => {
    const share = share_of_ceiling === null ? "" : `${(share_of_ceiling * 100).toFixed(0)} %`;
    return `| ${test} | ${tokens_per_second.toFixed(2)} ± ${spread.toFixed(2)} | ${share} |\n`;
  });
  const title = first
    ? `${name}, ${first.engine} ${isa}, ${first.threads} threads, read ceiling ${first.read_ceiling_gb_s.toFixed(1)} GB/s\n\n`
    : "";
  return `${title}| test | tokens/s | of the ceiling |\n| --- | ---: | ---: |\n${lines.join("")}`;
}

export function toCsv(rows: readonly BenchRow[]): string {
  const [first] = rows;
  if (!first) return "";
  const quote = (value: unknown) => {
    const text = Array.isArray(value) ? value.join(" ") : value === null ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const keys = Object.keys(first) as (keyof BenchRow)[];
  return `${keys.join(",")}\n${rows.map((row) => `${keys.map((key) => quote(row[key])).join(",")}\n`).join("")}`;
}
