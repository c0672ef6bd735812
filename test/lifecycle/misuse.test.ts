// N1: every native function with no arguments, wrong types, unknown handles, and handles released twice.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { tinyModel } from "../support/models.js";

const handleFunctions = [
  "tokenizerRelease",
  "vocab",
  "modelRelease",
  "modelInfo",
  "modelTokenizer",
  "modelTensors",
  "engineRelease",
  "engineInfo",
] as const;
const withoutArguments = new Set(["cpu", "counters"]);
const wrongValues: unknown[] = [
  undefined,
  null,
  "x",
  {},
  [],
  Number.NaN,
  1.5,
  -1,
  2 ** 31,
  1n,
  Symbol("s"),
  () => 1,
  true,
];

type AnyFunction = (...values: unknown[]) => unknown;
const functionOf = (name: string): AnyFunction => Reflect.get(binding, name) as AnyFunction;
const functionNames = Object.keys(binding).filter((name) => typeof Reflect.get(binding, name) === "function");

function thrownBy(call: () => unknown): { name?: string; code?: string } | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return error as { name?: string; code?: string };
  }
}

t.test("the binding has the functions of the contract", (t) => {
  t.ok(functionNames.length >= 19, functionNames.join(" "));
  t.end();
});

t.test("no arguments is a TypeError", (t) => {
  for (const name of functionNames) {
    if (withoutArguments.has(name)) continue;
    t.equal(thrownBy(() => functionOf(name)())?.name, "TypeError", name);
  }
  t.end();
});

t.test("wrong types are TypeErrors or DISPOSED, never anything else", (t) => {
  for (const name of functionNames) {
    if (withoutArguments.has(name) || name === "measureReadCeiling") continue;
    for (const value of wrongValues) {
      const error = thrownBy(() => functionOf(name)(value, value, value, value, value));
      const refused =
        error?.name === "TypeError" ||
        error?.code === "DISPOSED" ||
        error?.code === "E_IO" ||
        error?.code === "MODEL_NOT_FOUND";
      if (!refused) t.fail(`${name}(${String(value)}): ${String(error)} ${error?.code}`);
    }
  }
  t.end();
});

t.test("a receiver of another kind changes nothing", (t) => {
  const cpu = functionOf("cpu");
  t.ok(cpu.call({}));
  t.equal(thrownBy(() => functionOf("modelInfo").call(new Map(), 12345))?.code, "DISPOSED");
  t.end();
});

t.test("unknown handles are DISPOSED", (t) => {
  for (const name of handleFunctions) t.equal(thrownBy(() => functionOf(name)(987654))?.code, "DISPOSED", name);
  t.end();
});

t.test("released handles are DISPOSED, a second release too, and nothing is left", (t) => {
  const before = binding.counters();
  const model = binding.modelAcquire(tinyModel(), 1, new Int32Array(1));
  const tokenizer = binding.modelTokenizer(model);
  const options = { threads: 1, maxRows: 8, maxWanted: 1, pages: 2, isa: binding.cpu().isa };
  const engine = binding.engineCreate(model, options);
  binding.modelRelease(model);
  t.ok(binding.engineInfo(engine).threads >= 1, "an engine keeps its model");
  t.ok(binding.encode(tokenizer, "abc", false, false).length > 0, "and so does a tokenizer");
  binding.engineRelease(engine);
  binding.tokenizerRelease(tokenizer);
  t.equal(thrownBy(() => binding.modelRelease(model))?.code, "DISPOSED");
  t.equal(thrownBy(() => binding.engineRelease(engine))?.code, "DISPOSED");
  t.equal(thrownBy(() => binding.tokenizerRelease(tokenizer))?.code, "DISPOSED");
  t.equal(thrownBy(() => binding.engineLogits(engine, 0, new Float32Array(1)))?.code, "DISPOSED");
  t.same(binding.counters(), before);
  t.end();
});

t.test("ids out of range are refused", (t) => {
  const model = binding.modelAcquire(tinyModel(), 1, new Int32Array(1));
  const tokenizer = binding.modelTokenizer(model);
  for (const id of [-1, 2 ** 30]) {
    t.equal(thrownBy(() => binding.decode(tokenizer, Int32Array.of(id), false))?.code, "INVALID_TOKEN", `decode ${id}`);
  }
  binding.tokenizerRelease(tokenizer);
  binding.modelRelease(model);
  t.end();
});
