/** A calibration of activation sparsity: windows of a text through an engine of the method, which native code tries out. */
import { createHash } from "node:crypto";
import type { NativeBinding, NativeSparsityLayer } from "../../binding/native.js";
import { createError } from "../../errors.js";
import { limits, pagePositions } from "../../limits.js";
import type { CalibrationSubject } from "../attention/calibrate.js";
import { header } from "../control.js";
import type { SparsityReport, SparsityTrial } from "../protocol.js";
import { maskedSites, planSparsity } from "./plan.js";
import { sparsitySites } from "./sites.js";

/**
 * Share of a layer's masked weights that a step of the allocation leaves out: TEAL's. With attention, whose smallest matrices
 * would go in two steps, less.
 */
const steps = { ffn: 0.05, attention: 0.03 };

/** Tokens that see each other: errors are taken of the last quarter, which has that much before it. */
const mostWindow = 512;

/** @throws INVALID_OPTION when the text is too short; ABORTED; E_NONFINITE */
export function calibrateSparsity(
  subject: CalibrationSubject,
  { method, text, maxTokens }: SparsityTrial,
): SparsityReport {
  const { binding, model, tokenizer, info, threads, isa, control } = subject;
  const encoded = binding.encode(tokenizer, text, true, false).slice(0, maxTokens);
  const { leastSparsityTokens: least } = limits;
  if (encoded.length < least)
    throw createError(
      "INVALID_OPTION",
      `text: expected at least ${least} tokens to calibrate with, got ${encoded.length}`,
    );
  const window = Math.min(mostWindow, encoded.length, info.contextLength);
  const tokens = encoded.slice(0, encoded.length - (encoded.length % window));
  const count = (tokens.length / window) * Math.ceil(window / pagePositions);
  const pages = Int32Array.from({ length: count }, (_, page) => page);
  const sparsity = planSparsity(method, info.nLayers);
  const options = { threads, maxRows: window, maxWanted: 1, pages: count, isa, sparsity };
  const engine = binding.engineCreate(model, options);
  try {
    const step = method.attention === true ? steps.attention : steps.ffn;
    const layers = binding.engineCalibrateSparsity(engine, pages, tokens, {
      ...{ window, step, aborts: control, abort: header.stop },
    });
    const textSha256 = createHash("sha256").update(tokens).digest("hex");
    return { ...tablesOf(layers), textSha256, tokens: tokens.length, window };
  } finally {
    binding.engineRelease(engine);
  }
}

function tablesOf(
  layers: ReturnType<NativeBinding["engineCalibrateSparsity"]>,
): Pick<SparsityReport, "quantiles" | "frequencies" | "allocation"> {
  const all = layers.flatMap(({ sites }: NativeSparsityLayer) => sites);
  const knots = Math.max(...all.map(({ quantiles }) => quantiles.length));
  const quantiles = new Float32Array(layers.length * sparsitySites.length * knots);
  for (const [at, site] of all.entries()) quantiles.set(site.quantiles, at * knots);
  return {
    quantiles,
    frequencies: all.map(({ frequencies }) => frequencies),
    allocation: layers.map(({ allocation }) => allocation),
  };
}

/** Sites that a method masks, in native code's order. */
export function masksOf(method: SparsityTrial["method"]): boolean[] {
  const masked = maskedSites(method);
  return sparsitySites.map((site) => masked.includes(site));
}
