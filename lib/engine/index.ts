/** The engine: loading a model, and what a loaded model does. */
export { GenerateResultStream } from "./generate-result.js";
export { loadModel } from "./load-model.js";
export { Model } from "./model.js";
export { Session } from "./session.js";
