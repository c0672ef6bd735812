/**
 * @huggingface/jinja's interpreter with the limits it lacks: steps, depth of loops and calls, length of texts and lists.
 * Every node passes through `evaluate`. Operations whose result can be far larger than their inputs (replace, join,
 * indent, split, tojson) are priced before they run: operand and arguments are evaluated here, then handed to the
 * package as constants. Time is bounded by the watchdog, which also catches what is not priced.
 *
 * Host objects are out of reach: the package keeps every value in its own classes and looks names up in Maps only.
 */
import { limits } from "../limits.js";
import { type Environment, Interpreter, type Node, type Value } from "./jinja.js";
import { templateLimit } from "./limit-errors.js";

/** The fields of AST nodes this file reads. */
interface AnyNode {
  type: string;
  value?: unknown;
  operand?: AnyNode;
  filter?: AnyNode;
  callee?: AnyNode;
  args?: AnyNode[];
  key?: AnyNode;
  argument?: AnyNode;
  iterable?: AnyNode;
  lhs?: AnyNode;
  object?: AnyNode;
  property?: AnyNode;
  computed?: boolean;
  body?: unknown;
}

const constantType = "LutraConstant";
const constant = (value: Value): AnyNode => ({ type: constantType, value });
const { maxSteps, maxDepth, maxOutputBytes } = limits.template;
/** Work of the package's own loops (a pass over a text or list) that counts as one step. */
const unitsPerStep = 64;
const nesting = new Set(["For", "CallExpression", "CallStatement", "FilterStatement"]);

export class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private depth = 0;
  /** Size of each list and mapping when written out; shared parts count every time they are referred to. */
  private readonly weights = new WeakMap<object, number>();

  override evaluate(statement: Node | undefined, environment: Environment): Value {
    if (!statement) return super.evaluate(statement, environment);
    const node = statement as AnyNode;
    if (node.type === constantType) return node.value as Value;
    this.charge(1);
    const nests = nesting.has(node.type);
    if (nests && ++this.depth > maxDepth) throw templateLimit("depth");
    const result = super.evaluate(this.prepare(node, environment) as Node, environment);
    if (nests) this.depth--;
    // reading a variable gives a value that was bounded when it was made
    if (node.type !== "Identifier") this.bound(result);
    return result;
  }

  private charge(steps: number): void {
    this.steps += steps;
    if (this.steps > maxSteps) throw templateLimit("steps");
  }

  private bound(result: Value | undefined): void {
    if (result === undefined) return;
    const value: unknown = result.value;
    if (typeof value === "string") {
      if (value.length > maxOutputBytes) throw templateLimit("output");
    } else if (Array.isArray(value)) {
      if (value.length > maxSteps) throw templateLimit("values");
      this.weigh(result);
    } else if (value instanceof Map) this.weigh(result);
  }

  /** Characters a value takes when written out, roughly; more than the output limit is an error. */
  private weigh(item: Value | undefined): number {
    const value: unknown = item?.value;
    if (typeof value === "string") return value.length + 2;
    if (typeof value !== "object" || value === null) return 8;
    const known = this.weights.get(value);
    if (known !== undefined) return known;
    this.weights.set(value, 2); // a namespace that holds itself
    let weight = 2;
    let parts = 0;
    const entries = value instanceof Map ? value.values() : (value as Value[]);
    for (const part of entries) {
      weight += this.weigh(part) + 2;
      parts++;
    }
    if (value instanceof Map) for (const key of value.keys()) weight += String(key).length + 4;
    this.charge(Math.ceil(parts / unitsPerStep));
    // a list of small numbers weighs more here than it prints, hence the factor
    if (weight > 4 * maxOutputBytes) throw templateLimit("output");
    this.weights.set(value, weight);
    return weight;
  }

  /** Evaluates what must be known before the node may run; the node, with that part as constants. */
  private prepare(node: AnyNode, environment: Environment): AnyNode {
    switch (node.type) {
      case "For":
        return this.prepareFor(node, environment);
      case "FilterExpression":
        return this.prepareFilter(node, this.evaluate(node.operand as Node, environment), environment);
      case "FilterStatement": {
        const block = { type: "Program", body: node.body } as Node;
        return this.prepareFilter(
          { type: "FilterExpression", filter: node.filter as AnyNode },
          this.evaluate(block, environment),
          environment,
        );
      }
      case "CallExpression":
        return node.callee?.type === "MemberExpression" ? this.prepareMethod(node, node.callee, environment) : node;
      default:
        return node;
    }
  }

  private prepareFor(node: AnyNode, environment: Environment): AnyNode {
    const iterable = node.iterable as AnyNode;
    const select = iterable.type === "SelectExpression";
    const value = this.evaluate((select ? iterable.lhs : iterable) as Node, environment);
    const items: unknown = value.value;
    if (Array.isArray(items)) this.charge(items.length);
    const known = constant(value);
    return { ...node, iterable: select ? { ...iterable, lhs: known } : known };
  }

  private prepareFilter(node: AnyNode, operand: Value, environment: Environment): AnyNode {
    const filter = node.filter as AnyNode;
    let known = filter;
    let args: Value[] = [];
    const name = String((filter.type === "CallExpression" ? filter.callee : filter)?.value);
    // selectattr and rejectattr insist on literals
    if (filter.type === "CallExpression" && !name.endsWith("attr")) {
      const nodes = this.evaluateArgs(filter.args ?? [], environment);
      args = nodes.values;
      known = { ...filter, args: nodes.args };
    }
    this.price(name, operand, args);
    return { ...node, operand: constant(operand), filter: known };
  }

  private prepareMethod(node: AnyNode, callee: AnyNode, environment: Environment): AnyNode {
    const { args, values } = this.evaluateArgs(node.args ?? [], environment);
    const object = this.evaluate(callee.object as Node, environment);
    let property = callee.property as AnyNode;
    let name = String(property.value);
    if (callee.computed && property.type !== "SliceExpression") {
      const key = this.evaluate(property as Node, environment);
      name = String(key.value);
      property = constant(key);
    }
    this.price(name, object, values);
    return { ...node, args, callee: { ...callee, object: constant(object), property } };
  }

  /** Positional arguments before keyword ones, as the package does. */
  private evaluateArgs(nodes: AnyNode[], environment: Environment): { args: AnyNode[]; values: Value[] } {
    const values: Value[] = [];
    const known = (inner: AnyNode): AnyNode => {
      const value = this.evaluate(inner as Node, environment);
      values.push(value);
      return constant(value);
    };
    const isKeyword = (arg: AnyNode) =>
      arg.type === "KeywordArgumentExpression" || arg.type === "KeywordSpreadExpression";
    const positional = nodes
      .filter((arg) => !isKeyword(arg))
      .map((arg) =>
        arg.type === "SpreadExpression" ? { ...arg, argument: known(arg.argument as AnyNode) } : known(arg),
      );
    const keyword = nodes
      .filter(isKeyword)
      .map((arg) =>
        arg.type === "KeywordSpreadExpression"
          ? { ...arg, argument: known(arg.argument as AnyNode) }
          : { ...arg, value: known(arg.value as AnyNode) },
      );
    return { args: [...positional, ...keyword], values };
  }

  /** Refuses an operation whose result could pass the limits; charges one pass over its operand. */
  private price(name: string, operand: Value, args: Value[]): void {
    const value: unknown = operand.value;
    const units = typeof value === "string" ? value.length : Array.isArray(value) ? value.length : 0;
    this.charge(Math.ceil(units / unitsPerStep));
    let longest = 0;
    for (const arg of args) longest = Math.max(longest, this.longestText(arg));
    if (name === "replace" && typeof value === "string" && typeof args[1]?.value === "string") {
      this.priceReplace(value, String(args[0]?.value), args[1].value);
    } else if (name === "join" && units * longest + this.weigh(operand) > 4 * maxOutputBytes)
      throw templateLimit("output");
    else if (
      name === "indent" &&
      typeof value === "string" &&
      value.split("\n").length * longest + units > maxOutputBytes
    ) {
      throw templateLimit("output");
    } else if (name === "tojson" && this.weigh(operand) * (1 + longest) > 16 * maxOutputBytes)
      throw templateLimit("output");
    // one object of some 64 bytes for each part
    else if (name === "split" && units > maxSteps) throw templateLimit("values");
  }

  /** Texts count their length, numbers their value: the width of an indent. */
  private longestText(arg: Value): number {
    const value: unknown = arg.value;
    if (typeof value === "string") return value.length;
    if (typeof value === "number") return Math.abs(value);
    return Array.isArray(value) ? Math.max(0, ...value.slice(0, 8).map((part: Value) => this.longestText(part))) : 0;
  }

  private priceReplace(text: string, from: string, to: string): void {
    const growth = to.length - from.length;
    if (growth <= 0) return;
    if (from === "") {
      if ((text.length + 1) * to.length + text.length > maxOutputBytes) throw templateLimit("output");
      return;
    }
    let size = text.length;
    for (let at = text.indexOf(from); at !== -1; at = text.indexOf(from, at + from.length)) {
      size += growth;
      if (size > maxOutputBytes) throw templateLimit("output");
    }
  }
}
