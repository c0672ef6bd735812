/** Drafts of what comes next, and which of them a step should verify: pure, on typed arrays and numbers. */
export { type DraftRows, childRow, orderRows } from "./draft-rows.js";
export { DraftTree, type Source, maxNodes, sources } from "./draft-tree.js";
export type { Drafter, Likeliest } from "./drafter.js";
export { type StepTime, chooseNodes, isHopeless } from "./policy.js";
export { type DraftStats, RequestDrafts, SharedDrafts } from "./request-drafts.js";
