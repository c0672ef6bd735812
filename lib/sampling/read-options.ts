/** Options as a caller gave them → a plain object: unknown names refused, every known one read exactly once. */
import { describeValue, InvalidOptionError, invalidOption } from "../errors.js";
import { nearestName } from "./nearest-name.js";

/** Reads a property of an untrusted object; a getter or proxy that throws becomes an error of that field. */
export function readProperty(source: object, name: string, field: string): unknown {
  try {
    return (source as Record<string, unknown>)[name];
  } catch (cause) {
    throw new InvalidOptionError("INVALID_OPTION", `${field}: reading it threw an error`, { cause });
  }
}

export function readKeys(source: object, field: string): string[] {
  try {
    return Object.keys(source);
  } catch (cause) {
    throw new InvalidOptionError("INVALID_OPTION", `${field}: listing its properties threw an error`, { cause });
  }
}

/** A getter cannot change its answer after this; options that are undefined are left out. @throws InvalidOptionError */
export function readOptions(options: unknown, known: readonly string[]): Record<string, unknown> {
  if (options === undefined) return {};
  let isArray: boolean;
  try {
    isArray = Array.isArray(options);
  } catch (cause) {
    throw new InvalidOptionError("INVALID_OPTION", "options: a revoked proxy", { cause });
  }
  if (typeof options !== "object" || options === null || isArray) throw invalidOption("options", "an object", options);
  for (const name of readKeys(options, "options")) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    const hint = near ? `did you mean ${JSON.stringify(near)}?` : `known options: ${known.join(", ")}`;
    throw new InvalidOptionError("INVALID_OPTION", `${describeValue(name)} is not an option; ${hint}`);
  }
  const plain: Record<string, unknown> = {};
  for (const name of known) {
    const value = readProperty(options, name, name);
    if (value !== undefined) plain[name] = value;
  }
  return plain;
}
