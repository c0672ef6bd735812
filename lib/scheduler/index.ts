/** Continuous batching: see scheduler.ts. */
export { type PlanDrafts, Scheduler, type SchedulerOptions } from "./scheduler.js";
export { Sequence, type SequenceRequest } from "./sequence.js";
export { createStepArrays } from "./step.js";
export type { Step, StepLimits, StepSpan, WantedRow } from "./step.js";
