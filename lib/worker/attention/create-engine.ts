/** The engine of a task: with lookup attention where it is asked for and can be had, else exact. */
import type { NativeBinding } from "../../binding/native.js";
import { toLutraError } from "../../errors.js";
import type { AttentionPlan, AttentionState, CalibrationReport } from "../protocol.js";
import { calibrate, type CalibrationSubject } from "./calibrate.js";

export type EngineOptions = Omit<Parameters<NativeBinding["engineCreate"]>[1], "attention">;

export interface CreatedEngine {
  engine: number;
  /** Undefined: nothing but exact attention was asked for. */
  attention: AttentionState | undefined;
}

/** What keeps codebooks from being made or used leaves an exact engine; only an abort ends the load. */
export function createEngine(
  subject: CalibrationSubject,
  options: EngineOptions,
  plan: AttentionPlan | undefined,
): CreatedEngine {
  const { binding, model } = subject;
  if (plan === undefined) return { engine: binding.engineCreate(model, options), attention: undefined };
  try {
    return createNomad(subject, options, plan);
  } catch (thrown) {
    const { code, message } = toLutraError(thrown);
    if (code === "ABORTED") throw thrown;
    return { engine: binding.engineCreate(model, options), attention: { failure: { code, message } } };
  }
}

function createNomad(subject: CalibrationSubject, options: EngineOptions, plan: AttentionPlan): CreatedEngine {
  const { calibration, codebooks: given, ...attention } = plan;
  const made: CalibrationReport | undefined = given === undefined ? calibrate(subject, calibration) : undefined;
  const codebooks = (given ?? made?.codebooks) as Uint8Array;
  const engine = subject.binding.engineCreate(subject.model, { ...options, attention: { ...attention, codebooks } });
  return { engine, attention: { codebooks, made } };
}
