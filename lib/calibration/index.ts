/** Codebook files of lookup attention, and the built-in text that codebooks are made from. */
export type { CodebookImage, CodebookParameters, Expected, Training } from "./format.js";
export { defaultCodebookPath } from "./place.js";
export { readCodebooks } from "./read.js";
export { builtinText } from "./text.js";
export { writeCodebooks } from "./write.js";
