/** Directory of this room's compiled files, ESM half; the CommonJS half is here-cjs.cts. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

export const here: string = dirname(fileURLToPath(import.meta.url));
