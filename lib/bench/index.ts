/** Measuring: tests on Lutra and on a peer, the read ceiling beside them, and what is made of the rows. */
export { measureCeiling } from "./ceiling.js";
export { type BaseRow, parseBase, ratioToBase } from "./compare.js";
export {
  type ConcurrencyTest,
  concurrencyName,
  neededRoom,
  PromptSource,
  type ClientsRun,
  runClients,
} from "./concurrency/clients.js";
export {
  type Bounds,
  countGood,
  gaps,
  percentile,
  type RequestTimes,
  timePerOutputToken,
  timeToFirstToken,
} from "./concurrency/latency.js";
export { type ConcurrencyRow, concurrencyRow, measureConcurrency } from "./concurrency/rows.js";
export { findPeer, peerName, PeerProcess, peerVersion } from "./peer.js";
export { plotRows } from "./plot.js";
export { faint, ink, line, palette, paper, themed } from "./plot-theme.js";
export { type BenchProfile, type OperatorShare, profileLutra, summarizeProfile } from "./profile.js";
export { bytesPerToken, fileReadBytes, lutraReadBytes, type ReadBytes } from "./read-bytes.js";
export { type BenchRow, benchRow, deviation, median, type RowInput } from "./rows.js";
export { runTest, type Subject } from "./run.js";
export { isLooping, measurePrompt, mergeRounds, type PromptResult } from "./speculation/measure.js";
export { builtInPrompts, parsePrompts, type SpeculationPrompt } from "./speculation/prompts.js";
export { type SpeculationRow, speculationRows } from "./speculation/rows.js";
export { type BenchSparsity, measureSparsity } from "./sparsity.js";
export { measureLutra, type MeasureOptions, type Sample } from "./streams.js";
export { type BenchTest, listTests, neededContext, randomIds, streamPrompts, testName } from "./tests.js";
