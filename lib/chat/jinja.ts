/**
 * The parts of @huggingface/jinja that are used here, typed: its own declarations import without file extensions, which
 * NodeNext resolution cannot follow.
 */
import * as jinja from "@huggingface/jinja";

/** A value of the template language: `value` is a string, number, boolean, null, undefined, array, Map or function. */
export interface Value {
  type: string;
  value: unknown;
}

export interface Node {
  type: string;
}

export interface Environment {
  /** Declares a variable; plain data and functions are converted. */
  set(name: string, value: unknown): Value;
}

export interface Program extends Node {
  body: Node[];
}

interface InterpreterClass {
  new (
    environment: Environment,
  ): { evaluate(node: Node | undefined, environment: Environment): Value; run(program: Program): Value };
}

const untyped = jinja as unknown as {
  Interpreter: InterpreterClass;
  Environment: new () => Environment;
  Template: new (text: string) => { parsed: Program };
};

export const Interpreter = untyped.Interpreter;
export const createEnvironment = (): Environment => new untyped.Environment();
export const parseTemplate = (text: string): Program => new untyped.Template(text).parsed;
