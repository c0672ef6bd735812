/** Rows in the form that was asked for on stdout; what that form has no place for on stderr. */
import { cpus } from "node:os";
import { type BaseRow, type BenchRow, parseBase, plotRows } from "../../bench/index.js";
import { type Model, nameAttention, nameMatmul } from "../../engine/index.js";
import { readTextFile } from "../input.js";
import { describeForms } from "../matmul-forms.js";
import { note, print, printJson, UsageError } from "../terminal.js";
import type { BenchFlags, BenchFormat } from "./flags.js";
import { toCsv, toProfiles, toRatios } from "./output.js";

export interface Report<Row extends BenchRow> {
  format: BenchFormat;
  model: Model;
  base: BaseRow[] | undefined;
  toMarkdown: (rows: readonly Row[], title: string, base: readonly BaseRow[] | undefined) => string;
  /** Its name and version for the title, after a comma. */
  peer?: string;
}

export function formatOf(flags: BenchFlags): BenchFormat {
  if (flags.json && flags.output && flags.output !== "json")
    throw new UsageError(`--json and -o ${flags.output} exclude each other`);
  return flags.json ? "json" : (flags.output ?? "md");
}

/** Rows of the earlier run that --compare names. */
export async function baseOf({ compare }: BenchFlags): Promise<BaseRow[] | undefined> {
  return compare === undefined ? undefined : parseBase(await readTextFile(compare), compare);
}

export async function report<Row extends BenchRow>(rows: readonly Row[], options: Report<Row>): Promise<void> {
  const { format, model, base, toMarkdown, peer = "" } = options;
  const { isa, threads, attention, matmul } = model.info;
  const name = [model.info.name, nameAttention(attention), nameMatmul(matmul)].filter(Boolean).join(", ");
  const ceilings = rows.map(({ read_ceiling_gb_s }) => read_ceiling_gb_s);
  const range = [...new Set([Math.min(...ceilings), Math.max(...ceilings)].map((value) => value.toFixed(1)))].join("–");
  const machine = `${cpus()[0]?.model.trim() || process.arch}, ${isa}, ${threads} threads, read ceiling ${range} GB/s${peer}`;
  if (matmul.type === "auto" && matmul.forms.length > 0) note(describeForms(matmul).join("\n"));
  if (format === "md") {
    await print(toMarkdown(rows, `${name}, ${machine}`, base));
    const profiles = toProfiles(rows);
    return print(profiles && `\n${profiles}`);
  }
  if (format === "json") await printJson(rows);
  else if (format === "csv") await print(toCsv(rows));
  else await print(await plotRows(rows, { model: name, subtitle: machine }));
  if (base) note(toRatios(rows, base).trimEnd());
  const profiles = format === "json" ? "" : toProfiles(rows);
  if (profiles) note(profiles.trimEnd());
}
