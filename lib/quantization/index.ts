/** Model files with their matrices in another type. */
export { quantizeModel } from "./quantize-model.js";
export { targetTypeNames } from "./target-types.js";
