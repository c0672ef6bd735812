/** Hostile templates (class T5): every one ends in a typed error, soon, and nothing of the host is reachable. */
import t from "tap";
import { renderChat } from "../../dist/esm/chat/index.js";

const hello = [{ role: "user" as const, content: "Hello" }];
const nest = (n: number, open: string, close: string, inner = "x") => open.repeat(n) + inner + close.repeat(n);

/** The error of a template, and the CPU time it took (wall time says little on a busy machine). */
function failure(template: string): { code?: string; message?: string; milliseconds: number } {
  const start = process.cpuUsage();
  const elapsed = () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
  try {
    const text = renderChat(template, hello);
    return { message: `rendered ${text.length} characters`, milliseconds: elapsed() };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message, milliseconds: elapsed() };
  }
}

t.test("limits stop what would hang or fill memory", async (t) => {
  const grow = "{% set ns = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
  const list =
    "{% set ns = namespace(a=[1,2,3,4]) %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}";
  const tree =
    "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}";
  const big = "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(18) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
  const cases: [string, string, RegExp][] = [
    ["range(10**9)", "{% for i in range(10**9) %}{% endfor %}", /"values"/],
    ["range of reals", "{% for i in range(0, 1, 0.0000001) %}{% endfor %}", /range\(\) takes integers/],
    ["nested ranges", nest(8, "{% for i in range(90000) %}", "{% endfor %}"), /"(steps|time)"/],
    [
      "empty nested ranges",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      /"(steps|time)"/,
    ],
    ["10 K nested loops", nest(10_000, "{% for i in range(2) %}", "{% endfor %}"), /"(depth|time)"/],
    ["100 nested loops", nest(100, "{% for i in [1] %}", "{% endfor %}"), /"depth"/],
    ["10 K nested ifs", nest(10_000, "{% if true %}", "{% endif %}"), /"(depth|time)"/],
    ["10 K parentheses", `{{ ${nest(10_000, "(", ")", "1")} }}`, /"(depth|time)"/],
    ["10 K lists", `{{ ${nest(10_000, "[", "]", "1")} }}`, /"(depth|time)"/],
    ["100 K not", `{{ ${"not ".repeat(100_000)}1 }}`, /"(depth|time)"/],
    ["recursion by macro", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", /"depth"/],
    [
      "doubling recursion",
      "{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
      /"(steps|time)"/,
    ],
    ["doubling text", `${grow}{{ ns.s }}`, /"output"/],
    ["doubling list", list, /"(output|values|steps)"/],
    ["doubling tree", tree, /"output"/],
    ["replace that grows", `${big}{{ ns.s | replace('a', ns.s) }}`, /"output"/],
    ["replace to 400 MB", `${big}{{ (ns.s[:20000] | replace('a', ns.s[:20000])).upper() | length }}`, /"output"/],
    ["replace method that grows", `${big}{{ ns.s.replace('a', ns.s) }}`, /"output"/],
    ["replace by subscript", `${big}{{ ns.s['replace']('', ns.s) }}`, /"output"/],
    ["join with a long separator", `${big}{{ range(90000) | join(ns.s) }}`, /"output"/],
    ["indent by a billion", "{{ 'a\nb' | indent(1000000000) }}", /"output"/],
    ["indent by keyword", "{{ 'a\nb' | indent(width=1000000000) }}", /"output"/],
    ["indent as a block", "{% filter indent(1000000000) %}a\nb{% endfilter %}", /"output"/],
    ["tojson with a wide indent", "{{ [1,[2,[3]]] | tojson(indent=1000000000) }}", /"output"/],
    ["split into millions", `${big}{{ ns.s.split('a') | length }}`, /"values"/],
    ["output", `${big}{% for i in range(1000) %}{{ ns.s }}{% endfor %}`, /"output"/],
    ["a namespace inside itself", "{% set a = namespace() %}{% set a.a = a %}{{ a }}", /"(depth|output)"/],
    ["spread of a long list", "{{ namespace(*range(100000)) }}", /namespace expected/],
    ["a template of 1 MiB + 1", "a".repeat((1 << 20) + 1), /"size"/],
  ];
  for (const [name, template, expected] of cases) {
    const before = process.memoryUsage().rss;
    const error = failure(template);
    t.match(
      error.code,
      /^TEMPLATE_(LIMIT|INVALID)$/,
      `${name}: ${error.message?.slice(0, 90)} ${error.milliseconds.toFixed(0)} ms`,
    );
    t.match(error.message, expected, name);
    t.ok(error.milliseconds < 1000, `${name} took ${error.milliseconds} ms of CPU`);
    t.ok(
      process.memoryUsage().rss - before < 300e6,
      `${name} took ${((process.memoryUsage().rss - before) / 1e6).toFixed(0)} MB`,
    );
  }
  t.equal(renderChat("{{ messages[0].content }}", hello), "Hello", "and the next template works");
});

t.test("'a' * 10**9 is no operation of templates", async (t) => {
  t.match(failure("{{ 'a' * 10**9 }}"), { code: "TEMPLATE_INVALID", message: /Unknown operator/ });
});

t.test("a template of 1 MiB of text renders", async (t) => {
  t.equal(renderChat("a".repeat(1 << 20), hello).length, 1 << 20);
});

t.test("host objects are out of reach", async (t) => {
  const paths = [
    "__proto__",
    "constructor",
    "__class__",
    "prototype",
    "toString",
    "__defineGetter__",
    "valueOf",
    "caller",
  ];
  const roots = [
    "messages",
    "messages[0]",
    "''",
    "1",
    "[]",
    "{}",
    "range",
    "none",
    "namespace()",
    "loop",
    "bos_token",
    "raise_exception",
  ];
  for (const root of roots) {
    for (const path of paths) {
      for (const expression of [`${root}.${path}`, `${root}['${path}']`]) {
        t.equal(renderChat(`{{ ${expression} is defined }}`, hello), "false", expression);
      }
    }
  }
  for (const name of ["process", "globalThis", "require", "Function", "eval", "self", "this", "module"]) {
    t.equal(renderChat(`{{ ${name} is defined }}`, hello), "false", name);
  }
  for (const call of [
    "messages.constructor('x')",
    "''.constructor.constructor('return process')()",
    "range.call(1)",
    "range.constructor('x')()",
  ]) {
    t.match(failure(`{{ ${call} }}`), { code: "TEMPLATE_INVALID" }, call);
  }
  t.equal(renderChat("{% set __proto__ = 1 %}{% set ns = namespace(__proto__=2) %}{{ ns.__proto__ }}", hello), "2");
  t.equal(({} as Record<string, unknown>).ns, undefined);
});

t.test("wrong templates are TEMPLATE_INVALID and quoted", async (t) => {
  const cases: [string, RegExp][] = [
    ["{{ messages | nosuchfilter }}", /nosuchfilter.*template: "\{\{ messages/],
    ["{{ 'x' | nosuch(1) }}", /nosuch/],
    ["{{ raise_exception('roles must alternate') }}", /refused these messages: roles must alternate/],
    ["{{ raise_exception() }}", /refused/],
    ["{% for m in messages %}", /incomplete/],
    ["{{ ", /./],
    ["{{ 'abc }}", /./],
    ["{% nosuch %}", /Unknown statement/],
    ["{% endfor %}", /./],
    ["{% break %}", /outside a loop/],
    ["{{ missing.a.b() }}", /./],
    ["{{ [1 }}", /./],
    ["{{ 1 is nosuchtest }}", /Unknown test/],
    ["{% for a, b in messages %}{% endfor %}", /./],
    ["{{ ''.split('') }}", /empty separator/],
    ["{# never closed", /comment/],
    ["{{ [] | first | upper }}", /./],
  ];
  for (const [template, message] of cases) t.match(failure(template), { code: "TEMPLATE_INVALID", message }, template);
  t.ok(
    (failure(`{{ nosuch() }}${"y".repeat(100_000)}`).message as string).length < 800,
    "long templates are not quoted whole",
  );
});
