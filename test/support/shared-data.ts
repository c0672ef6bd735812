/** Data that stands beside the repository (golden outputs, texts). Absent data gives null, and tests skip with a reason. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Path of a shared file, or null when it is not there. */
export function sharedPath(name: string): string | null {
  const path = join(process.env.LUTRA_SHARED ?? join(root, "..", "shared"), name);
  return existsSync(path) ? path : null;
}

/** The lines of a shared JSON-lines file of data/; none, with the reason printed, when it is not there. */
export function readSharedLines(name: string): Record<string, unknown>[] {
  const path = sharedPath(`data/${name}`);
  if (path === null) console.log(`# ${name} is not there: fewer prompts`);
  const lines = path === null ? [] : readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
}

export interface Golden {
  ids: number[];
  logsumexp: number[];
  next_logprob: number[];
  perplexity: number;
  top_ids: number[][];
  top_logits: number[][];
}

/** Golden outputs of the full-precision oracle for a model name, or null. */
export function readGolden(model: string): Golden | null {
  const path = sharedPath(`reference/${model}.golden.json`);
  return path === null ? null : (JSON.parse(readFileSync(path, "utf8")) as Golden);
}
