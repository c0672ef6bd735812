/** The load option `matmul`: checked, with its defaults, and how results name what it approximates. */
import { createError, invalidOption } from "../../errors.js";
import { nearestName, readKeys, readProperty } from "../../sampling/index.js";
import type { LutOptions, MatmulInfo } from "../../types.js";
import { tilesOf } from "../../worker/index.js";

const fields = ["type", "tables"] as const satisfies readonly (keyof LutOptions)[];
const expected = '"auto", "dot", "lut" or { type: "lut", tables }';

/** @throws InvalidOptionError */
export function resolveMatmul(value: unknown): MatmulInfo {
  if (value === undefined || value === "auto") return { type: "auto", forms: [] };
  if (value === "dot") return { type: "dot" };
  const given = value === "lut" ? { type: "lut" } : value;
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw invalidOption("matmul", expected, value);
  for (const key of readKeys(given, "matmul")) {
    if ((fields as readonly string[]).includes(key)) continue;
    const near = nearestName(key, fields);
    const hint = near === undefined ? `known: ${fields.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
    throw createError("INVALID_OPTION", `matmul.${key} is not an option; ${hint}`);
  }
  const read = (name: (typeof fields)[number]): unknown => readProperty(given, name, `matmul.${name}`);
  const type = read("type");
  if (type !== "lut") throw invalidOption("matmul.type", '"lut"', type);
  const tables = read("tables") ?? "exact";
  if (tables !== "exact" && tables !== "int8") throw invalidOption("matmul.tables", '"exact" or "int8"', tables);
  return { type, tables };
}

/** Whether results differ from those of multiply-adds. */
export function isApproximate(matmul: MatmulInfo): boolean {
  return matmul.type === "lut" && matmul.tables === "int8";
}

/** `lut int8`; undefined where products are multiply-adds. */
export function nameMatmul(matmul: MatmulInfo): string | undefined {
  if (matmul.type === "lut") return `lut ${matmul.tables}`;
  if (matmul.type === "dot") return undefined;
  const kinds = tilesOf(matmul);
  return kinds.length === 0 ? undefined : `lut of ${kinds.join(", ")}`;
}

/** `approximations` of a result. */
export function describeMatmul(matmul: MatmulInfo): string[] {
  return isApproximate(matmul) ? ["lut int8: products looked up in tables rounded to 8 bits"] : [];
}
