// `lutra bench --speculation`: its prompts, what it makes of the results, and the command on a tiny model.
import { join } from "node:path";
import t from "tap";
import { isLooping, parsePrompts, type PromptResult, speculationRows } from "../../dist/esm/bench/index.js";
import { tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";

t.test("prompts: three forms, and what is wrong names its line", (t) => {
  const lines = [{ category: "chat", turns: ["a", "b"] }, { question: "q" }, { category: "x", prompt: "p" }];
  t.same(parsePrompts(`${lines.map((line) => JSON.stringify(line)).join("\n\n")}\n`, "f"), [
    { category: "chat", text: "a" },
    { category: "all", text: "q" },
    { category: "x", text: "p" },
  ]);
  const wrong: [string, RegExp][] = [
    ['{"prompt":"a"}\n{', /^f:2: .*no JSON/],
    ['{"answer":1}', /^f:1: expected a JSON object with prompt, question or turns, got answer/],
    ["null", /^f:1: .*got none of them/],
    ['{"prompt":""}', /^f:1:/],
    ["\n", /^f: expected a prompt a line, got none/],
  ];
  for (const [text, message] of wrong) t.throws(() => parsePrompts(text, "f"), { code: "INVALID_OPTION", message });
  t.end();
});

t.test("texts that loop", (t) => {
  const row = (length: number, of: (i: number) => number) => Array.from({ length }, (_, i) => of(i));
  t.ok(isLooping(row(80, (i) => i % 7)));
  t.notOk(isLooping(row(80, (i) => i)));
  t.notOk(isLooping(row(120, (i) => (i < 56 ? i % 4 : i))), "it is the end that counts");
  t.notOk(isLooping([1, 1, 1]));
  t.end();
});

t.test("rows: times are added up by category, looping texts stand apart", (t) => {
  const result = (category: string, plainMs: number, draftingMs: number, isLooping = false): PromptResult => ({
    ...{ category, plainMs, draftingMs, isLooping, tokens: 11, steps: 5, drafted: 8, accepted: 5, isIdentical: true },
    plainTotalMs: plainMs + 100,
    draftingTotalMs: draftingMs + 100,
  });
  const results = [result("a", 100, 50), result("a", 300, 150), result("b", 90, 100), result("a", 500, 100, true)];
  const rows = speculationRows({ results, maxTokens: 10, threads: 2, ceilings: [30] });
  t.same(
    rows.map(({ category, prompts, speedup }) => [category, prompts, speedup]),
    [
      ["a", 2, 2],
      ["b", 1, 0.9],
      ["all", 3, 490 / 300],
      ["looping", 1, 5],
    ],
  );
  t.match(rows[0], { speedup_total: 600 / 400, worst_speedup: 2, mean_accepted: 2, tokens_per_second: 100 });
  t.match(rows[2], { worst_speedup: 0.9, accepted: 15, drafted: 24, identical: 3 });
  t.end();
});

t.test("the command", async (t) => {
  const folder = t.testdir({ "prompts.jsonl": '{"category":"chat","prompt":"hello"}\n{"question":"one two"}\n' });
  const args = ["bench", "-m", tinyModel(), "--speculation", "-n", "20", "-r", "2"];
  const { code, stdout, stderr } = await runCli([...args, "-f", join(folder, "prompts.jsonl"), "--json"]);
  t.equal(code, 0, stderr);
  const rows = JSON.parse(stdout);
  t.ok(rows.length >= 2);
  for (const row of rows) {
    t.equal(row.identical, row.prompts);
    t.ok(row.speedup > 0 && row.plain_tokens_per_second > 0 && row.mean_accepted >= 1);
  }
  const table = await runCli([...args, "--speculation", "suffix", "-f", join(folder, "prompts.jsonl")]);
  t.match(table.stdout, /\| tokens a step \|/, table.stderr);
  t.match(await runCli([...args, "-o", "svg"]), { code: 2, stderr: /--speculation has no plot/ });
  t.match(await runCli([...args, "-n", "8,9"]), { code: 2, stderr: /-n: --speculation takes one number/ });
  t.match(await runCli([...args, "-f", join(folder, "none")]), { code: 1, stderr: /E_IO/ });
});
