/** Template arguments of the caller: plain data only, so nothing of the host becomes callable from a template. */
import { describeValue, invalidOption } from "../errors.js";
import { limits } from "../limits.js";

const reserved = new Set([
  "messages",
  "tools",
  "documents",
  "add_generation_prompt",
  "namespace",
  "range",
  "raise_exception",
  "strftime_now",
  "loop",
  "true",
  "false",
  "none",
  "True",
  "False",
  "None",
]);
const maxValues = 100_000;

function copy(value: unknown, field: string, depth: number, budget: { left: number }): unknown {
  if (depth > limits.template.maxDepth) throw invalidOption(field, `at most ${limits.template.maxDepth} levels`, value);
  if (--budget.left < 0) throw invalidOption(field, `at most ${maxValues} values in all`, value);
  if (value === null || value === undefined || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item, i) => copy(item, `${field}[${i}]`, depth + 1, budget));
  if (typeof value !== "object") throw invalidOption(field, "plain data (JSON)", value);
  const plain: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const name of Object.keys(value)) {
    plain[name] = copy((value as Record<string, unknown>)[name], `${field}.${name.slice(0, 64)}`, depth + 1, budget);
  }
  return plain;
}

/** A deep copy of plain data; functions, symbols and cycles are refused. @throws InvalidOptionError */
export function plainData(value: unknown, field: string): unknown {
  try {
    return copy(value, field, 0, { left: maxValues });
  } catch (error) {
    if (error instanceof Error && "code" in error) throw error;
    throw invalidOption(field, "plain data (JSON); reading it threw an error", value);
  }
}

export function checkKwargs(kwargs: unknown): Record<string, unknown> {
  if (kwargs === undefined) return {};
  const field = "chatTemplateKwargs";
  if (typeof kwargs !== "object" || kwargs === null || Array.isArray(kwargs))
    throw invalidOption(field, "an object", kwargs);
  const plain = plainData(kwargs, field) as Record<string, unknown>;
  for (const name of Object.keys(plain)) {
    if (reserved.has(name))
      throw invalidOption(field, `names other than ${describeValue(name)}, which the template itself defines`, name);
  }
  return plain;
}
