/** Model files with their matrices in another type. */
export type { QuantizedTensor, QuantizeOptions, QuantizeResult, TargetType } from "./options.js";
export { quantizeModel } from "./quantize-model.js";
export { targetTypeNames } from "./target-types.js";
