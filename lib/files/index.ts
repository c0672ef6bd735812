/** Files that Lutra keeps beside models: replacing one in one step, reading it, and a model file's fingerprint. */
export { type FileStamp, fingerprint, stampFile } from "./fingerprint.js";
export { readUpTo, type Replacement, replaceFile, writeAll } from "./replace-file.js";
export { describePath, NotRegularFile, systemReason } from "./system-reason.js";
