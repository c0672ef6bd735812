/** Calibration files, of lookup attention (codebooks) and of activation sparsity, and the built-in text they are made from. */
export type { CodebookImage, CodebookParameters, Expected, Training } from "./format.js";
export { defaultCodebookPath } from "./place.js";
export { readCodebooks } from "./read.js";
export { defaultSparsityPath, readSparsity, writeSparsity } from "./sparsity-file.js";
export type { ExpectedSparsity, SparsityImage, SparsityMethod, SparsityTables } from "./sparsity-format.js";
export { builtinText } from "./text.js";
export { writeCodebooks } from "./write.js";
