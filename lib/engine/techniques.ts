/** Load options that choose a technique: what each may be today, and which names are known but not available yet. */
import { createError, describeValue, invalidOption } from "../errors.js";

interface Technique {
  today: readonly unknown[];
  expected: string;
  /** Names, or `type`s of an object, that a later version will take. */
  later: readonly string[];
}

const techniques = {
  kvCacheType: { today: ["f16", "q8_0"], expected: '"f16" or "q8_0"', later: [] },
  ffnSparsity: { today: [false], expected: "false", later: ["wina", "teal", "cats", "dip", "coreinfer"] },
} as const satisfies Record<string, Technique>;

export const techniqueNames = Object.keys(techniques) as (keyof typeof techniques)[];

/** @throws InvalidOptionError: INVALID_OPTION, or NOT_AVAILABLE for what a later version will do. */
export function checkTechniques(given: Record<string, unknown>): void {
  for (const field of techniqueNames) {
    const value = given[field];
    const { today, expected, later }: Technique = techniques[field];
    if (value === undefined || today.includes(value)) continue;
    const name = nameOf(value);
    if (name === undefined || !later.includes(name)) throw invalidOption(field, expected, value);
    throw createError(
      "NOT_AVAILABLE",
      `${field}: expected ${expected}, got ${describeValue(name)}, which is not available yet`,
    );
  }
}

function nameOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return typeof value === "string" ? value : undefined;
  try {
    const { type } = value as { type?: unknown };
    return typeof type === "string" ? type : undefined;
  } catch {
    return undefined;
  }
}
