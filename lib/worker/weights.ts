/** How the weights of a model lie, and the tables of its engines, by how it multiplies. */
import type { LutTables } from "../binding/native.js";
import type { MatmulInfo } from "../types.js";

export function layoutOf(matmul: MatmulInfo): "panels" | "planes" {
  return matmul.type === "lut" ? "planes" : "panels";
}

export function tablesOf(matmul: MatmulInfo): LutTables {
  return matmul.type === "lut" ? matmul.tables : "exact";
}
