/** The engine: loading a model, what a loaded model does, codebooks of a model, and checks of options. */
export { GenerateResultStream } from "./generate-result.js";
export { calibrate } from "./attention/calibrate.js";
export { nameAttention } from "./attention/report.js";
export { nameMatmul } from "./matmul/option.js";
export { checkFlag, checkFunction, checkInteger, checkSignal } from "./load-options.js";
export { loadModel } from "./load-model.js";
export { Model } from "./model.js";
export { Session } from "./session.js";
export { calibrateSparsity } from "./sparsity/calibrate.js";
export { nameSparsity } from "./sparsity/report.js";
export { tilesOf } from "../worker/index.js";
