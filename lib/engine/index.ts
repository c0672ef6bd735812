/** The engine: loading a model, what a loaded model does, and codebooks of a model. */
export { GenerateResultStream } from "./generate-result.js";
export { calibrate } from "./attention/calibrate.js";
export { nameAttention } from "./attention/report.js";
export { loadModel } from "./load-model.js";
export { Model } from "./model.js";
export { Session } from "./session.js";
