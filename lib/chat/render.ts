/**
 * Chat templates: Jinja by @huggingface/jinja, inside the limits of limits.template. A template comes with a model file,
 * so it is untrusted: it can neither hang, nor exhaust memory, nor reach anything of the host.
 */
import { LutraError, createError, describeValue, invalidOption } from "../errors.js";
import { limits } from "../limits.js";
import type { ChatMessage } from "../types.js";
import { BoundedInterpreter } from "./bounded-interpreter.js";
import { type Environment, type Program, createEnvironment, parseTemplate } from "./jinja.js";
import { checkKwargs, plainData } from "./kwargs.js";
import { maxRange, templateInvalid, templateLimit } from "./limit-errors.js";
import { checkMessages } from "./messages.js";
import { strftime } from "./strftime.js";
import { runWithin } from "./watchdog.js";

export interface RenderOptions {
  /** Default true: the text ends where the assistant's answer begins. */
  addGenerationPrompt?: boolean;
  bosToken?: string;
  eosToken?: string;
  /** More variables of the template: plain data. */
  kwargs?: Record<string, unknown>;
  tools?: unknown[];
}

class RaisedByTemplate extends Error {}

const cacheSize = 8;
const cache = new Map<string, Program>();

function parse(template: string): Program {
  const known = cache.get(template);
  const parsed = known ?? parseTemplate(template);
  cache.delete(template);
  cache.set(template, parsed);
  if (cache.size > cacheSize) cache.delete(cache.keys().next().value as string);
  return parsed;
}

function range(start: unknown, stop?: unknown, step: unknown = 1): number[] {
  const [from, to] = typeof stop === "number" ? [start, stop] : [0, start];
  if (!Number.isInteger(from) || !Number.isInteger(to) || !Number.isInteger(step) || step === 0) {
    throw new Error("range() takes integers, and a step other than 0");
  }
  const by = step as number;
  const count = Math.max(0, Math.ceil(((to as number) - (from as number)) / by));
  if (count > maxRange) throw templateLimit("values");
  return Array.from({ length: count }, (_, i) => (from as number) + i * by);
}

function createGlobals(variables: Record<string, unknown>): Environment {
  const environment = createEnvironment();
  const globals: Record<string, unknown> = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception: (message: unknown) => {
      throw new RaisedByTemplate(typeof message === "string" ? message : "raise_exception was called");
    },
    strftime_now: (format: unknown) => strftime(new Date(), String(format)),
    ...variables,
  };
  for (const [name, value] of Object.entries(globals)) environment.set(name, value);
  return environment;
}

/** What the package or V8 threw, as one of our errors. */
function translate(template: string, error: unknown): LutraError {
  if (error instanceof LutraError) return error;
  if (error instanceof RaisedByTemplate)
    return templateInvalid(template, `the template refused these messages: ${error.message}`, error);
  const message = error instanceof Error ? error.message : describeValue(error);
  if (/call stack/i.test(message)) return templateLimit("depth", error);
  if (/Invalid (string|array) length/i.test(message)) return templateLimit("output", error);
  if (error instanceof TypeError)
    return templateInvalid(template, `it is incomplete or uses a value of the wrong kind: ${message}`, error);
  return templateInvalid(template, message || "break or continue outside a loop", error);
}

function checkText(field: string, value: unknown): void {
  if (value !== undefined && typeof value !== "string") throw invalidOption(field, "a string", value);
}

/** The prompt's text. @throws TemplateError (TEMPLATE_INVALID, TEMPLATE_LIMIT), InvalidOptionError (INVALID_MESSAGES, INVALID_OPTION) */
export function renderChat(template: string, messages: ChatMessage[], options: RenderOptions = {}): string {
  if (typeof template !== "string") throw invalidOption("chatTemplate", "a string", template);
  const { maxBytes, maxOutputBytes, maxMilliseconds, millisecondsPerMessage } = limits.template;
  if (template.length > maxBytes || Buffer.byteLength(template) > maxBytes) throw templateLimit("size");
  const checked = checkMessages(messages);
  checkText("bosToken", options.bosToken);
  checkText("eosToken", options.eosToken);
  const variables: Record<string, unknown> = {
    bos_token: options.bosToken ?? "",
    eos_token: options.eosToken ?? "",
    ...checkKwargs(options.kwargs),
    messages: checked,
    add_generation_prompt: options.addGenerationPrompt ?? true,
  };
  if (options.tools !== undefined) variables.tools = plainData(options.tools, "tools");
  let outcome: { value: string } | "expired";
  try {
    outcome = runWithin(Math.ceil(maxMilliseconds + millisecondsPerMessage * checked.length), () => {
      const program = parse(template);
      const text = new BoundedInterpreter(createGlobals(variables)).run(program).value as string;
      if (text.length > maxOutputBytes || Buffer.byteLength(text) > maxOutputBytes) throw templateLimit("output");
      return text;
    });
  } catch (error) {
    throw translate(template, error);
  }
  if (outcome === "expired") throw templateLimit("time");
  return outcome.value;
}

/** The error of a model without a chat template. */
export function missingTemplate(modelName: string): LutraError {
  return createError(
    "TEMPLATE_MISSING",
    `model ${describeValue(modelName)} has no chat template (a base model, perhaps): ` +
      "give one with the option chatTemplate, or --chat-template-file on the command line, or use generate() with a plain prompt",
  );
}
