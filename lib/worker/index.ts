/** The engine's worker thread: starting it, and the messages it understands. */
export { controlSlots, createControl, header, slotIndex, slotWord } from "./control.js";
export { AttentionTally } from "./attention/tally.js";
export type { ComparedRows, Comparison, ComparisonReply, ComparisonTask } from "./comparison.js";
export { type EngineWorker, runOnThread, startEngineWorker } from "./pool.js";
export { chooseForm, nameKind, settleMatmul, tilesOf } from "./matmul-forms.js";
export type * from "./protocol.js";
export type { ChatTask, EncodedTexts, ShortTask } from "./short-task.js";
export { runShortTask, shortTaskThreads, type ShortTaskRun } from "./short-tasks.js";
export { masksOf } from "./sparsity/calibrate.js";
export { draftSparsityOption } from "./sparsity/plan.js";
export { SparsityTally } from "./sparsity/tally.js";
