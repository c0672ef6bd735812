/** Chat templates and messages: what they render, and the typed errors of wrong ones (class T6). */
import t from "tap";
import { checkMessages, missingTemplate, renderChat } from "../../dist/esm/chat/index.js";

/** The template inside SmolLM2-135M-Instruct.Q4_1.gguf. */
const smollm2 =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const hello = [{ role: "user" as const, content: "Hello" }];

t.test("SmolLM2's template renders ChatML with its default system message", async (t) => {
  const system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";
  t.equal(renderChat(smollm2, hello), `${system}<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n`);
  t.equal(renderChat(smollm2, hello, { addGenerationPrompt: false }), `${system}<|im_start|>user\nHello<|im_end|>\n`);
  t.equal(
    renderChat(smollm2, [
      { role: "system", content: "Be brief." },
      { role: "user", content: "1+1?" },
      { role: "assistant", content: "2" },
      { role: "user", content: "{{ bos_token }} {% raw" },
    ]),
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n{{ bos_token }} {% raw<|im_end|>\n<|im_start|>assistant\n",
  );
});

t.test("the language chat templates use", async (t) => {
  const cases: [string, string][] = [
    ["{{ bos_token }}{% for m in messages %}{{ m.content | trim }}{% endfor %}{{ eos_token }}", "<s>Hello</s>"],
    [
      "{% set ns = namespace(n=0) %}{% for i in range(5) if i % 2 == 0 %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
      "6",
    ],
    [
      "{% macro f(a, b='x') %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, b='y') }} {{ f('p', 'q') }}",
      "1-x 1-y p-q",
    ],
    ["{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=two;"],
    ["{{ d | tojson }} {{ d | tojson(indent=2) | length }}", '{"a": 1, "b": "two"} 26'],
    [
      "{{ 'a-b-c'.split('-') | join('+') }} {{ 'aXa' | replace('a', 'bb') }} {{ 'aXa'.replace('X', '') }}",
      "a+b+c bbXbb aa",
    ],
    ["{{ 'l1\nl2' | indent(2) }}|{{ 'l1\nl2' | indent(width=3, first=true) }}", "l1\n  l2|   l1\n   l2"],
    [
      "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | map(attribute='role') | join(',') }}",
      "1 user",
    ],
    [
      "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
      "023",
    ],
    ["{% filter upper %}abc{{ 1 }}{% endfilter %}", "ABC1"],
    ["{% macro w() %}[{{ caller() }}]{% endmacro %}{% call w() %}x{% endcall %}", "[x]"],
    ["{{ messages[0]['content'][1:3] }} {{ messages[-1].role }} {{ 'ell' in messages[0].content }}", "el user true"],
    ["{{ 'x' if missing is defined else 'y' }} {{ missing | default('z') }}", "y z"],
    [
      "{{ range(10, 0, -3) | join(',') }} {{ range(2, 4) | join(',') }} [{{ range(3, 1) | join(',') }}]",
      "10,7,4,1 2,3 []",
    ],
    ["{{ ['b','a'] | sort | join }}{{ [1,2,3] | reverse | first }}{{ {'a': [1, {'b': 2}]}['a'][1].b }}", "ab32"],
  ];
  for (const [template, expected] of cases) {
    t.equal(
      renderChat(template, hello, { bosToken: "<s>", eosToken: "</s>", kwargs: { d: { a: 1, b: "two" } } }),
      expected,
      template.slice(0, 50),
    );
  }
});

t.test("strftime_now, tools and kwargs", async (t) => {
  const year = new Date().getFullYear();
  t.match(
    renderChat("{{ strftime_now('%Y-%m-%d %d %b %Y %A %%') }}", hello),
    new RegExp(`^${year}-\\d\\d-\\d\\d \\d\\d [A-Z][a-z]{2} ${year} [A-Z][a-z]+day %$`),
  );
  t.equal(
    renderChat("{{ tools[0].name }}{{ enable_thinking }}", hello, {
      tools: [{ name: "f" }],
      kwargs: { enable_thinking: false },
    }),
    "ffalse",
  );
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const trap = {
    get x() {
      throw new Error("no");
    },
  };
  for (const kwargs of [
    { f: () => 1 },
    cyclic,
    { messages: [] },
    trap,
    [],
    { range: 1 },
    { n: Number.NaN },
    { s: Symbol("s") },
    { b: 1n },
  ]) {
    t.throws(() => renderChat("x", hello, { kwargs: kwargs as never }), {
      code: "INVALID_OPTION",
      message: /chatTemplateKwargs/,
    });
  }
  t.throws(() => renderChat("x", hello, { tools: [() => 1] }), { code: "INVALID_OPTION", message: /tools\[0\]/ });
  t.throws(() => renderChat("x", hello, { bosToken: 1 as never }), { code: "INVALID_OPTION", message: /bosToken/ });
  t.throws(() => renderChat(null as never, hello), { code: "INVALID_OPTION", message: /chatTemplate/ });
});

t.test("messages: every wrong value names its path", async (t) => {
  const ok = { role: "user", content: "x" };
  const cases: [unknown, RegExp][] = [
    [undefined, /^messages: expected an array/],
    ["hi", /^messages: expected an array/],
    [[], /^messages: expected at least one message/],
    [new Array(10_001).fill(ok), /^messages: expected at most 10000/],
    [[null], /^messages\[0\]: expected an object/],
    [[ok, ok, ok, { content: "x" }], /^messages\[3\]\.role: expected one of "system", "user".*got undefined/],
    [[{ role: "robot", content: "x" }], /^messages\[0\]\.role: .*got "robot"/],
    [[ok, { role: "assistant", content: null }], /^messages\[1\]\.content: expected a string, got null/],
    [[{ role: "user" }], /^messages\[0\]\.content: expected a string, got undefined/],
    [[{ role: "user", content: [{ type: "image_url" }] }], /^messages\[0\]\.content: .*parts.*not supported/],
    [
      [
        {
          role: "user",
          get content() {
            throw new Error("no");
          },
        },
      ],
      /^messages\[0\]\.content: reading it threw/,
    ],
    [[ok, undefined, ok], /^messages\[1\]: expected an object/],
  ];
  for (const [messages, message] of cases)
    t.throws(() => checkMessages(messages), { code: "INVALID_MESSAGES", status: 400, message });
  t.strictSame(
    checkMessages([
      { ...ok, extra: 1 },
      { role: "system", content: "last" },
    ]),
    [ok, { role: "system", content: "last" }],
  );
  t.equal(checkMessages(new Array(10_000).fill(ok)).length, 10_000);
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  t.throws(() => checkMessages(proxy), { code: "INVALID_MESSAGES" });
});

t.test("10,000 messages render within the limits", async (t) => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({
    role: i % 2 ? ("assistant" as const) : ("user" as const),
    content: `m${i}`,
  }));
  const text = renderChat("{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}", many);
  t.ok(text.endsWith("assistant:m9999\n"));
});

t.test("a missing template names the override", async (t) => {
  const error = missingTemplate("gemma-3-270m");
  t.match(error, {
    code: "TEMPLATE_MISSING",
    name: "TemplateError",
    message: /gemma-3-270m.*chatTemplate.*--chat-template-file/,
  });
});
