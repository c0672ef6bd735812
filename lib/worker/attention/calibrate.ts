/**
 * Codebooks for lookup attention: a text runs once through an exact engine on the model's weights, and native code trains
 * them from the keys that are then in its cache.
 */
import { createHash } from "node:crypto";
import type { Isa, NativeBinding, NativeModelInfo } from "../../binding/native.js";
import { createError } from "../../errors.js";
import { limits, pagePositions } from "../../limits.js";
import { createStepArrays } from "../../scheduler/index.js";
import { header } from "../control.js";
import type { CalibrationPlan, CalibrationReport } from "../protocol.js";

export interface CalibrationSubject {
  binding: NativeBinding;
  model: number;
  tokenizer: number;
  info: NativeModelInfo;
  threads: number;
  isa: Isa;
  /** Its stop word ends the run. */
  control: Int32Array;
}

/** @throws INVALID_OPTION when the text is too short; ABORTED; what native code refuses */
export function calibrate(subject: CalibrationSubject, plan: CalibrationPlan): CalibrationReport {
  const { binding, model, info, threads, isa } = subject;
  // Of the model alone where nothing else is said: the file serves every context size it is loaded with.
  const contextSize = plan.contextSize || Math.min(limits.defaultContextSize, info.contextLength);
  const tokens = encodeText(subject, plan, contextSize);
  const maxRows = limits.prefillChunk;
  const pages = Int32Array.from({ length: Math.ceil(tokens.length / pagePositions) }, (_, page) => page);
  const engine = binding.engineCreate(model, { threads, maxRows, maxWanted: 1, pages: pages.length, isa });
  try {
    run(subject, engine, tokens, pages);
    const { dSub, outliers, spread } = plan;
    const training = { dSub, outliers, spread, contextSize };
    const codebooks = binding.engineTrainCodebooks(engine, pages, tokens.length, training);
    const textSha256 = createHash("sha256").update(tokens).digest();
    return { codebooks, spread, contextSize, tokens: tokens.length, textSha256: Uint8Array.from(textSha256) };
  } finally {
    binding.engineRelease(engine);
  }
}

function encodeText(
  { binding, tokenizer }: CalibrationSubject,
  plan: CalibrationPlan,
  contextSize: number,
): Int32Array {
  const tokens = binding.encode(tokenizer, plan.text, true, false);
  const used = tokens.slice(0, Math.min(plan.maxTokens || contextSize, contextSize));
  const { leastCalibrationTokens: least } = limits;
  if (used.length >= least) return used;
  const found = used.length < tokens.length ? `a context of ${contextSize}` : `${tokens.length}`;
  throw createError("INVALID_OPTION", `text: expected at least ${least} tokens to calibrate with, got ${found}`);
}

/** Leaves the keys and values of all tokens in the pages. */
function run({ binding, control }: CalibrationSubject, engine: number, tokens: Int32Array, pages: Int32Array): void {
  const maxRows = limits.prefillChunk;
  const sizes = { maxSequences: 1, maxBranches: 0, pageStride: pages.length, maxRows, maxWanted: 1 };
  const arrays = createStepArrays({ ...sizes, maxCandidates: 1, dim: 0 }, pages, control);
  arrays.sequenceAborts[0] = header.stop;
  for (let begin = 0; begin < tokens.length; begin += maxRows) {
    const rows = Math.min(maxRows, tokens.length - begin);
    for (let row = 0; row < rows; row++) {
      arrays.tokens[row] = tokens[begin + row] as number;
      arrays.positions[row] = begin + row;
      arrays.targets[row] = -1;
    }
    binding.engineStep(engine, { rows, sequences: 1, pageStride: pages.length, k: 1, mirrors: 0 }, arrays);
  }
}
