/** Results beside those of an earlier run. */
import { invalidOption } from "../errors.js";
import type { BenchRow } from "./rows.js";

/** What says that two rows measure the same thing. */
const identity = ["test", "depth", "batch", "threads", "engine"] as const;
export type BaseRow = Pick<BenchRow, (typeof identity)[number] | "tokens_per_second">;

const maxRows = 10_000;

/** The rows of a file that `lutra bench -o json` wrote. @throws InvalidOptionError that names the field */
export function parseBase(text: string, path: string): BaseRow[] {
  const field = `--compare ${path}`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidOption(field, "the JSON that `lutra bench -o json` writes", text);
  }
  if (!Array.isArray(value)) throw invalidOption(field, "an array of rows", value);
  if (value.length > maxRows) throw invalidOption(field, `at most ${maxRows} rows`, value);
  return value.map((row, i) => checkRow(row, `${field}: row ${i}`));
}

function checkRow(row: unknown, field: string): BaseRow {
  if (typeof row !== "object" || row === null || Array.isArray(row)) throw invalidOption(field, "an object", row);
  const given = row as Record<string, unknown>;
  for (const key of ["test", "engine"]) {
    if (typeof given[key] !== "string") throw invalidOption(`${field}: ${key}`, "a string", given[key]);
  }
  for (const key of ["depth", "batch", "threads"]) {
    if (!Number.isInteger(given[key])) throw invalidOption(`${field}: ${key}`, "a whole number", given[key]);
  }
  const speed = given["tokens_per_second"];
  if (!(typeof speed === "number" && Number.isFinite(speed) && speed > 0))
    throw invalidOption(`${field}: tokens_per_second`, "a positive number", speed);
  return given as unknown as BaseRow;
}

/** This row's speed ÷ the base's; null when the base has no such row. */
export function ratioToBase(row: BaseRow, base: readonly BaseRow[]): number | null {
  const before = base.find((other) => identity.every((key) => other[key] === row[key]));
  return before === undefined ? null : row.tokens_per_second / before.tokens_per_second;
}
