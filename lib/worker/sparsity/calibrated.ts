/** A calibration that was read, as planSparsity() asks it. */
import { createError } from "../../errors.js";
import type { SparsityTables } from "../protocol.js";
import { type SparsityCalibration, sparsitySites } from "./sites.js";

const sites = sparsitySites.length;
const knots = 65;
const rowLength = sites + 1;

/** @throws InvalidOptionError where the tables are of another number of layers */
export function calibrationOf({ quantiles, allocation }: SparsityTables, nLayers: number): SparsityCalibration {
  if (allocation.length !== nLayers || quantiles.length !== nLayers * sites * knots) {
    const found = `${allocation.length}`;
    throw createError("INVALID_OPTION", `ffnSparsity.calibration: expected ${nLayers} layers, got ${found}`);
  }
  return {
    quantiles(layer, site, share) {
      const first = (layer * sites + sparsitySites.indexOf(site)) * knots;
      const at = Math.max(0, Math.min(1, share)) * (knots - 1);
      const below = Math.min(knots - 2, Math.floor(at));
      return between(quantiles[first + below] as number, quantiles[first + below + 1] as number, at - below);
    },
    keeps(target) {
      const keeps = new Float32Array(nLayers * sites);
      for (const [layer, rows] of allocation.entries()) {
        const found = keepsOf(rows, 1 - target);
        if (found === undefined) return undefined;
        keeps.set(found, layer * sites);
      }
      return keeps;
    },
  };
}

/** Between the two rows that leave out less and more; undefined: none leaves out so much. */
function keepsOf(rows: Float32Array, sparsity: number): number[] | undefined {
  const count = rows.length / rowLength;
  const shareOf = (row: number): number => rows[row * rowLength] as number;
  // A float32 stands beside the number that was asked for.
  const wanted = Math.min(sparsity, shareOf(count - 1));
  if (sparsity - wanted > 1e-6) return undefined;
  let row = 1;
  while (row < count && shareOf(row) < wanted) row++;
  const low = row - 1;
  const part = row < count ? (wanted - shareOf(low)) / (shareOf(row) - shareOf(low)) : 0;
  return sparsitySites.map((_, site) => {
    const keepAt = (each: number): number => rows[each * rowLength + 1 + site] as number;
    return row < count ? between(keepAt(low), keepAt(row), part) : keepAt(low);
  });
}

function between(low: number, high: number, part: number): number {
  return low + (high - low) * part;
}
