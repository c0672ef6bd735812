/** Sampling: pure functions on typed arrays, from a request's options to the next token and the end of its text. */
export {
  type Candidates,
  type Picked,
  candidatesNeeded,
  needsFullRow,
  needsLogSumExp,
  pickToken,
  topLogprobs,
} from "./chain.js";
export { createCandidates, sortFullRow } from "./full-row.js";
export { type SamplingParams, defaultSampling } from "./params.js";
export { type BiasArrays, PenaltyState, applyBiases, buildBiases, createBiasArrays } from "./penalties.js";
export { randomSeed, uniform } from "./random.js";
export { nearestName } from "./nearest-name.js";
export { readKeys, readOptions, readProperty } from "./read-options.js";
export { type ResolveContext, generateOptionNames, resolveSampling } from "./resolve.js";
export { StopMatcher } from "./stop-matcher.js";
export { Utf8Stream } from "./utf8-stream.js";
