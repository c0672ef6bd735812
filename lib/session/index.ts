/** Session files: what one holds, reading it with everything checked first, and writing it in one step. */
export type { SessionIdentity, SessionImage } from "./format.js";
export { checkSessionPath } from "./path.js";
export { type Expected, readSession } from "./read.js";
export { writeSession } from "./write.js";
