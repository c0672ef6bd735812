/**
 * What native code is told of activation sparsity: shares kept at each site of each layer, and which tensors get columns.
 * The prior that spreads a target over the sites is the mean of the tables that TEAL published (Liu et al., 2024).
 */
import type { NativeSparsity } from "../../binding/native.js";
import { createError } from "../../errors.js";
import type { ResolvedSparsity, SparsityPlan } from "../protocol.js";
import { calibrationOf } from "./calibrated.js";
import { type SparsityCalibration, type SparsitySite, sparsitySites } from "./sites.js";

/** Name in errors and warnings of the option by which a model drafts for itself. */
export const draftSparsityOption = "speculation.draftSparsity";

/** Tensors of a layer that read the channels of a site. */
const readers: Record<SparsitySite, readonly string[]> = {
  attnIn: ["attn_q", "attn_k", "attn_v"],
  attnOut: ["attn_output"],
  ffnIn: ["ffn_gate", "ffn_up"],
  ffnMid: ["ffn_down"],
};

/** Sparsity of a site ÷ that of the whole. */
const prior: Record<SparsitySite, number> = { attnIn: 1, attnOut: 1.25, ffnIn: 0.9, ffnMid: 1.1 };
const mostSparsity = 0.95;

const hiddenRanks = { cats: "gate", random: "random", coreinfer: "core" } as const;

interface Given {
  calibration: SparsityCalibration | undefined;
  option: string;
}

/** Sites of which channels are skipped. */
export function maskedSites({ type, attention }: ResolvedSparsity): SparsitySite[] {
  if (type !== "teal" && type !== "wina" && type !== "dip") return ["ffnMid"];
  return attention === true ? [...sparsitySites] : ["ffnIn", "ffnMid"];
}

/** Names within a layer, as modelAcquire takes them. */
export function columnsOf(sparsity: ResolvedSparsity): string[] {
  return maskedSites(sparsity).flatMap((site) => readers[site]);
}

/** `option` is its name in errors. @throws InvalidOptionError: the calibration asked for is not there, or does not know the target */
export function planSparsity(
  sparsity: SparsityPlan,
  nLayers: number,
  calibration: SparsityCalibration | undefined = sparsity.tables && calibrationOf(sparsity.tables, nLayers),
  option = "ffnSparsity",
): NativeSparsity {
  const { type, selection, norms, tokenShare, guard } = sparsity;
  const keeps = keepsOf(sparsity, nLayers, { calibration, option });
  const hidden = type in hiddenRanks ? hiddenRanks[type as keyof typeof hiddenRanks] : "magnitude";
  const plan: NativeSparsity = { keeps, selection, norms: norms ?? "none", hidden };
  if (selection !== "topk")
    plan.thresholds = thresholdsOf(keeps, required({ calibration, option }, "selection", selection));
  if (tokenShare !== undefined && guard !== undefined) plan.core = { tokenShare, guard };
  return plan;
}

function keepsOf(sparsity: ResolvedSparsity, nLayers: number, given: Given): Float32Array {
  const { keep, keepHidden = keep, allocation } = sparsity;
  const masked = maskedSites(sparsity);
  const keeps = new Float32Array(nLayers * sparsitySites.length).fill(1);
  const found = allocation === "calibrated" ? required(given, "allocation", allocation).keeps(keep) : undefined;
  if (allocation === "calibrated" && found === undefined)
    throw createError("INVALID_OPTION", `${given.option}.keep: expected a share that was calibrated, got ${keep}`);
  if (found !== undefined && found.length !== keeps.length) {
    const expected = `${sparsitySites.length} shares for each of ${nLayers} layers`;
    throw createError("INVALID_OPTION", `${given.option}.calibration: expected ${expected}, got ${found.length}`);
  }
  for (let at = 0; at < keeps.length; at++) {
    const site = sparsitySites[at % sparsitySites.length] as SparsitySite;
    if (!masked.includes(site)) continue;
    keeps[at] = found?.[at] ?? shareOf(site, site === "ffnMid" ? keepHidden : keep, allocation);
  }
  return keeps;
}

function shareOf(site: SparsitySite, keep: number, allocation: ResolvedSparsity["allocation"]): number {
  if (allocation === "uniform") return keep;
  return 1 - Math.max(0, Math.min(mostSparsity, (1 - keep) * prior[site]));
}

/** A site that keeps everything has nothing below its threshold. */
function thresholdsOf(keeps: Float32Array, calibration: SparsityCalibration): Float32Array {
  return keeps.map((keep, at) => {
    const site = sparsitySites[at % sparsitySites.length] as SparsitySite;
    return keep === 1 ? 0 : calibration.quantiles(Math.floor(at / sparsitySites.length), site, 1 - keep);
  });
}

function required(
  { calibration, option }: Given,
  field: "selection" | "allocation",
  value: string,
): SparsityCalibration {
  if (calibration !== undefined) return calibration;
  throw createError(
    "INVALID_OPTION",
    `${option}.calibration: expected a calibration for ${field} ${JSON.stringify(value)}, got none`,
  );
}
