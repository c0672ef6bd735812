// The load option `attention`: what each field may be, what it is by default, and that a wrong one is named.
import t from "tap";
import { resolveAttention } from "../../dist/esm/engine/attention/option.js";
import { techniqueOptions } from "../../dist/esm/cli/options.js";

t.test("defaults", (t) => {
  t.equal(resolveAttention(undefined), undefined);
  t.equal(resolveAttention("exact"), undefined);
  const refine = {
    mode: "refine",
    dSub: 2,
    epsilon: 0.03,
    maxKeep: 0.5,
    tail: false,
    tableBits: 8,
    outliers: 0,
    codebooks: undefined,
  };
  t.strictSame(resolveAttention("nomad"), refine);
  t.strictSame(resolveAttention({ type: "nomad" }), refine);
  t.strictSame(resolveAttention({ type: "nomad", mode: "pure" }), { ...refine, mode: "pure", dSub: 1 });
  t.strictSame(resolveAttention({ type: "nomad", mode: "pure", dSub: 4 }), { ...refine, mode: "pure", dSub: 4 });
  t.end();
});

t.test("every field is what was given", (t) => {
  const given = { mode: "pure", dSub: 4, epsilon: 0.5, maxKeep: 1, tail: true, tableBits: 7, outliers: 16 } as const;
  t.strictSame(resolveAttention({ type: "nomad", ...given, codebooks: "a.codebooks" }), {
    ...given,
    codebooks: "a.codebooks",
  });
  t.end();
});

t.test("what is wrong is named, with what was expected and found", (t) => {
  const expected = 'attention: expected "exact", "nomad" or { type: "nomad", … }, got';
  const whole: [unknown, string][] = [
    ["flash", `${expected} "flash"`],
    [5, `${expected} 5`],
    [null, `${expected} null`],
    [[], `${expected} an array of 0`],
    [true, `${expected} true`],
  ];
  for (const [value, message] of whole)
    t.throws(() => resolveAttention(value), { name: "InvalidOptionError", code: "INVALID_OPTION", message });
  const fields: [string, unknown, string][] = [
    ["type", undefined, '"nomad", got undefined'],
    ["type", "exact", '"nomad", got "exact"'],
    ["mode", "exact", '"pure" or "refine", got "exact"'],
    ["mode", null, '"pure" or "refine", got null'],
    ["dSub", 3, "1, 2 or 4, got 3"],
    ["dSub", "2", '1, 2 or 4, got "2"'],
    ["epsilon", 0, "a number in (0, 1), got 0"],
    ["epsilon", 1, "a number in (0, 1), got 1"],
    ["epsilon", Number.NaN, "a number in (0, 1), got NaN"],
    ["epsilon", "0.1", 'a number in (0, 1), got "0.1"'],
    ["maxKeep", 1.01, "a number in (0, 1], got 1.01"],
    ["maxKeep", 0, "a number in (0, 1], got 0"],
    ["tail", 1, "true or false, got 1"],
    ["tableBits", 6, "7 or 8, got 6"],
    ["outliers", 3, "an even integer in [0, 16], got 3"],
    ["outliers", 18, "an even integer in [0, 16], got 18"],
    ["outliers", -2, "an even integer in [0, 16], got -2"],
    ["codebooks", "", 'the path of a file, got ""'],
    ["codebooks", "a\0b", "the path of a file"],
    ["codebooks", 5, "the path of a file, got 5"],
  ];
  for (const [field, value, message] of fields) {
    const attention = { type: "nomad", [field]: value };
    const error = { code: "INVALID_OPTION", message: `attention.${field}: expected ${message}` };
    t.throws(() => resolveAttention(attention), error);
  }
  t.throws(() => resolveAttention({ type: "nomad", dsub: 2 }), { message: 'did you mean "dSub"?' });
  t.throws(() => resolveAttention({ type: "nomad", nonsense: 2 }), { message: "known: type, mode" });
  const hostile = {
    type: "nomad",
    get epsilon(): number {
      throw new Error("no");
    },
  };
  t.throws(() => resolveAttention(hostile), { message: "attention.epsilon: reading it threw an error" });
  t.end();
});

t.test("the flag", (t) => {
  const of = (attention?: string) => techniqueOptions(attention === undefined ? {} : { attention }).attention;
  t.equal(of(), undefined);
  t.equal(of("exact"), "exact");
  t.equal(of("nomad"), "nomad");
  t.same(of("nomad:pure"), { type: "nomad", mode: "pure" });
  t.same(of("nomad:refine,epsilon=0.02,dSub=4,tail=true,codebooks=/a/b.codebooks"), {
    type: "nomad",
    mode: "refine",
    epsilon: 0.02,
    dSub: 4,
    tail: true,
    codebooks: "/a/b.codebooks",
  });
  t.same(of("nomad:epsilon=0.1"), { type: "nomad", epsilon: 0.1 });
  for (const wrong of ["nomad:", "nomad:,", "nomad:epsilon=", "nomad:=3", "exact:pure", ":", "nomad:__proto__=1"])
    t.throws(() => resolveAttention(of(wrong)), { code: "INVALID_OPTION" }, wrong);
  t.end();
});
