/**
 * The codebooks of a model that is loaded with lookup attention: found before its engines start, kept after the first has
 * made them. A file that cannot be used is left as it is, and attention is exact: nobody's file is overwritten unasked.
 */
import {
  builtinText,
  defaultCodebookPath,
  type Expected,
  readCodebooks,
  writeCodebooks,
} from "../../calibration/index.js";
import { type LutraError, toLutraError } from "../../errors.js";
import { type FileStamp, fingerprint } from "../../files/index.js";
import { limits } from "../../limits.js";
import type { AttentionInfo } from "../../types.js";
import type { AttentionPlan, AttentionState } from "../../worker/index.js";
import type { ResolvedAttention } from "./option.js";

export interface ModelFile {
  path: string;
  /** Of when it was looked at. */
  stamp: FileStamp | null;
}

/** What is known before the engines start. */
export interface AttentionSetup {
  model: ModelFile;
  asked: ResolvedAttention;
  /** The codebook file, there or not. */
  path: string;
  expected: Expected;
  /** Undefined: exact, for `failure`. */
  plan: AttentionPlan | undefined;
  failure: string | undefined;
}

/** How a loaded model attends, and what of that its caller should know. */
export interface AttentionOutcome {
  info: AttentionInfo;
  warnings: string[];
  fallbacks: number;
}

/** @throws ModelFileError: E_IO, MODEL_CHANGED */
export async function findCodebooks(model: ModelFile, asked: ResolvedAttention): Promise<AttentionSetup> {
  const { dSub, outliers } = asked;
  const expected = { fingerprint: await fingerprint(model.path, model.stamp), parameters: { dSub, outliers } };
  const path = asked.codebooks ?? defaultCodebookPath(expected);
  const setup = { model, asked, path, expected, failure: undefined };
  const text = { text: builtinText, maxTokens: limits.builtinCalibrationTokens, contextSize: 0 };
  const plan = attentionPlan(asked, text);
  try {
    const { codebooks } = await readCodebooks(path, expected);
    return { ...setup, plan: { ...plan, codebooks } };
  } catch (thrown) {
    const { code, message } = thrown as LutraError;
    if (asked.codebooks === undefined && code === "CODEBOOKS_NOT_FOUND") return { ...setup, plan };
    const hint = asked.codebooks === undefined ? "; remove it, or write it again with lutra calibrate" : "";
    return { ...setup, plan: undefined, failure: `${message}${hint}` };
  }
}

/** What an engine without codebooks is told: it makes them from `text`. */
export function attentionPlan(
  { mode, epsilon, maxKeep, tail, tableBits, dSub, outliers }: ResolvedAttention,
  text: Pick<AttentionPlan["calibration"], "text" | "maxTokens" | "contextSize">,
): AttentionPlan {
  const calibration = { ...text, dSub, outliers, spread: true };
  return { mode, epsilon, maxKeep, tail, tableBits, calibration, codebooks: undefined };
}

/** Keeps what the first engine has made for the next load. Without `setup` attention is exact because that was asked for. */
export async function settleAttention(
  setup: AttentionSetup | undefined,
  loaded: AttentionState | undefined,
): Promise<AttentionOutcome> {
  if (setup === undefined) return { info: { type: "exact" }, warnings: [], fallbacks: 0 };
  const { model, asked, path, expected, failure = loaded?.failure?.message } = setup;
  if (loaded === undefined || loaded.failure !== undefined)
    return { info: { type: "exact" }, warnings: [`attention: exact in place of nomad: ${failure}`], fallbacks: 1 };
  const info = { type: "nomad", ...asked, codebooks: path } as const;
  if (loaded.made === undefined) return { info, warnings: [], fallbacks: 0 };
  const { codebooks, ...training } = loaded.made;
  try {
    // The weights that were loaded are still those of the fingerprint.
    await fingerprint(model.path, model.stamp);
    await writeCodebooks(path, { ...expected, training, codebooks });
    return { info, warnings: [], fallbacks: 0 };
  } catch (thrown) {
    const { message } = toLutraError(thrown);
    const warning = `attention: the codebooks were not kept, so every load makes them again: ${message}`;
    return { info, warnings: [warning], fallbacks: 0 };
  }
}
