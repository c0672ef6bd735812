/** The sites of activation sparsity, and what a calibration answers about them. */

/** Inputs of products that channels can be left out of, in native code's order. */
export const sparsitySites = ["attnIn", "attnOut", "ffnIn", "ffnMid"] as const;
export type SparsitySite = (typeof sparsitySites)[number];

/** What a calibration file says of one model. */
export interface SparsityCalibration {
  /** The score that this share of a site's channels stays below. */
  quantiles(layer: number, site: SparsitySite, share: number): number;
  /** Shares kept [nLayers * 4] that were found for a target; undefined: not for this one. */
  keeps(target: number): Float32Array | undefined;
}
