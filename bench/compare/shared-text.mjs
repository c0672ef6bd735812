/** Texts that benches read beside a clone: ../shared/data, or what LUTRA_SHARED names. */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The path of a shared text. Where it is not there, says so and ends the process: nothing failed. */
export function sharedText(root, name) {
  const path = join(process.env.LUTRA_SHARED ?? join(root, "..", "shared"), "data", name);
  if (existsSync(path)) return path;
  console.log(`skipped: ${name} is not in the shared data (LUTRA_SHARED)`);
  return process.exit(0);
}
