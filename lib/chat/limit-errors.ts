/** The errors of chat templates. */
import { type LutraError, createError, describeValue } from "../errors.js";
import { limits } from "../limits.js";

/** Template text is quoted so that an error says which template it was. */
export function templateInvalid(template: string, reason: string, cause?: unknown): LutraError {
  const text = `chat template: ${reason.slice(0, 500)} (template: ${describeValue(template)})`;
  return createError("TEMPLATE_INVALID", text, cause === undefined ? undefined : { cause });
}

export type TemplateLimit = "size" | "output" | "time" | "steps" | "depth" | "values";

const { template: caps } = limits;
/** As Jinja's own sandbox. */
export const maxRange = 100_000;

const descriptions: Record<TemplateLimit, string> = {
  size: `the template is larger than ${caps.maxBytes} bytes`,
  output: `its output or a text inside it grew past ${caps.maxOutputBytes} bytes`,
  time: `it ran longer than ${caps.maxMilliseconds} ms of CPU plus ${caps.millisecondsPerMessage} ms a message`,
  steps: `it took more than ${caps.maxSteps} steps`,
  depth: `it nests or recurses deeper than ${caps.maxDepth} levels`,
  values: `a range is longer than ${maxRange}, or a list longer than ${caps.maxSteps}`,
};

export function templateLimit(limit: TemplateLimit, cause?: unknown): LutraError {
  const text = `chat template stopped at the limit "${limit}": ${descriptions[limit]}`;
  return createError("TEMPLATE_LIMIT", text, cause === undefined ? undefined : { cause });
}
