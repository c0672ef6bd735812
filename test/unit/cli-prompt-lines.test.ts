/** `lutra generate -f x.jsonl --parallel n` as a process: on tiny models, and once on the default one. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { slowTinyModel, tinyModel, tinyTemplate } from "../support/models.js";
import { cachedModel, runCli, type CliOptions, type CliRun } from "../support/run-cli.js";

interface Answer {
  index: number;
  id?: string | number;
  text?: string;
  tokens?: number[];
  finish_reason?: string;
  error?: { code: string; message: string };
}

const tiny = tinyModel({ chatTemplate: tinyTemplate });
const many = (file: string, ...args: string[]) => ["generate", "-m", tiny, "-t", "1", "-c", "128", "-f", file, ...args];
const toLines = (values: unknown[]) => values.map((value) => `${JSON.stringify(value)}\n`).join("");
const parse = (text: string): Answer[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Answer);
/** Without what differs between two runs: times, what of a prompt was cached, and what was drafted, which goes by times. */
const lasting = (text: string) =>
  parse(text).map((answer) => ({ ...answer, timings: undefined, usage: undefined, speculation: undefined }));

/** Prompts whose answers have very different lengths, the first the longest. */
const mixed = Array.from({ length: 12 }, (_, i) => ({
  id: `p${i}`,
  prompt: `a b ${i}`,
  maxTokens: i === 0 ? 100 : 1 + ((i * 5) % 13),
  ignoreEos: true,
}));

t.test("wrong use is told before a model is loaded", async (t) => {
  const folder = t.testdir({ "x.jsonl": '"a"\n', "x.txt": '"a"\n' });
  const file = join(folder, "x.jsonl");
  const wrong: [string, string[], number, RegExp, Record<string, string>?][] = [
    ["no file", ["x", "--parallel", "2"], 2, /--parallel is for many prompts: give them with -f FILE\.jsonl \(USAGE\)/],
    ["a prompt", ["-p", "x", "--parallel", "2"], 2, /--parallel is for many prompts/],
    ["none of a file", ["-f", join(folder, "x.txt"), "-o", "y"], 2, /--out is for many prompts/],
    ["two sources", ["-p", "x", "-f", file, "--parallel", "2"], 2, /give the text once/],
    ["none at once", ["-f", file, "--parallel", "0"], 2, /--parallel.*at least 1/],
    ["a thousand at once", ["-f", file, "--parallel", "1000"], 2, /--parallel.*Expected 1 to 64/],
    ["half a one", ["-f", file, "--parallel", "1.5"], 2, /--parallel.*whole number/],
    ["the environment", ["-f", file], 2, /LUTRA_PARALLEL.*at least 1/, { LUTRA_PARALLEL: "0" }],
    ["no such file", ["-f", join(folder, "no.jsonl")], 1, /cannot read .*no\.jsonl: ENOENT \(E_IO\)/],
    ["a folder", ["-f", folder, "--parallel", "2"], 1, /cannot read .*: EISDIR \(E_IO\)/],
    [
      "a binary file",
      ["-f", tiny, "--parallel", "2"],
      2,
      /expected JSON lines in UTF-8, got binary data \(INVALID_OPTION\)/,
    ],
    ["out is in", ["-f", file, "-o", file], 2, /--out: expected another file than the input/],
    ["out is a folder", ["-f", file, "-o", folder], 1, /cannot write .*: EISDIR \(E_IO\)/],
    ["out is nowhere", ["-f", file, "-o", join(folder, "no", "y")], 1, /cannot write .*: ENOENT \(E_IO\)/],
    ["out is no file", ["-f", file, "-o", "/dev/null"], 2, /--out: expected a regular file/],
  ];
  for (const [name, args, code, message, env] of wrong) {
    const run = await runCli(["generate", "-m", "nosuch", ...args], { env });
    t.equal(run.code, code, `${name}: ${run.stderr}`);
    t.equal(run.stdout, "");
    t.match(run.stderr, message, name);
    t.match(run.stderr, /^lutra: [^\n]+\n$/, "one line");
  }
  t.equal(readFileSync(file, "utf8"), '"a"\n', "the input is as it was");
  const model = await runCli(["generate", "-m", "nosuch", "-f", file]);
  t.match(model, { code: 1, stdout: "", stderr: /MODEL_NOT_FOUND/ });
  const hot = await runCli(many(file, "--temp", "-1"));
  t.match(hot, { code: 2, stdout: "", stderr: /^lutra: temperature: expected .* got -1 \(INVALID_OPTION\)\n$/ });
});

t.test("each line has the answer it would have alone, in the order of the input", async (t) => {
  const folder = t.testdir({ "x.jsonl": toLines(mixed) });
  const file = join(folder, "x.jsonl");
  const flags = ["--temp", "1.3", "--seed", "5"];
  const runs: CliRun[] = [];
  for (const parallel of ["1", "4", "12"]) runs.push(await runCli(many(file, "--parallel", parallel, ...flags)));
  runs.push(await runCli(many(file, ...flags), { env: { LUTRA_PARALLEL: "3" } }));
  runs.push(await runCli(many("-", "--parallel", "5", ...flags), { input: toLines(mixed) }));
  for (const run of runs) {
    t.match(run, { code: 0, stderr: "" });
    t.same(lasting(run.stdout), lasting(runs[0]?.stdout as string));
  }
  const answers = parse(runs[0]?.stdout as string);
  t.same(
    answers.map(({ index, id }) => [index, id]),
    mixed.map(({ id }, i) => [i, id]),
  );
  const keys = "index id input_hash text tokens finish_reason usage timings speculation";
  t.same(Object.keys(answers[0] as Answer), keys.split(" "));
  await using model = await loadModel(tiny, { contextSize: 128, threads: 1 });
  for (const [i, { prompt, maxTokens, ignoreEos }] of mixed.entries()) {
    const alone = await model.generate(prompt, { maxTokens, ignoreEos, temperature: 1.3, seed: 5 });
    t.same(answers[i]?.tokens, alone.tokens);
    t.equal(answers[i]?.text, alone.text);
  }
});

t.test("an option of a line wins over the flag; chats, bare strings and ids", async (t) => {
  const lines = [
    { prompt: "a b c", maxTokens: 3 },
    "a b c",
    { messages: [{ role: "user", content: "hi" }], id: 7 },
    { prompt: [40, 41, 42] },
    { prompt: "a b c", logprobs: 1, maxTokens: 2 },
  ];
  const folder = t.testdir({ "x.jsonl": `${toLines(lines).replace("\n", "\n\n \r\n")}\n` });
  const args = many(join(folder, "x.jsonl"), "-n", "5", "--temp", "0", "--timings");
  const run = await runCli(args);
  t.equal(run.code, 0, run.stderr);
  const answers = parse(run.stdout);
  t.ok((answers[0]?.tokens?.length ?? 9) <= 3);
  t.ok((answers[1]?.tokens?.length ?? 9) <= 5);
  t.equal(answers[2]?.id, 7);
  t.notOk("id" in (answers[0] as Answer));
  t.match(answers[4], { logprobs: [Object] });
  t.match(run.stderr, /^generate \d+ tokens in [\d.]+ ms, [\d.]+ tokens\/s\n$/);
  const chat = parse((await runCli(many(join(folder, "x.jsonl"), "-n", "5", "--temp", "0", "--chat"))).stdout);
  t.same(chat[2]?.tokens, answers[2]?.tokens, "messages are a chat anyway");
  t.notSame(chat[1]?.tokens, answers[1]?.tokens, "--chat wraps a prompt");
  t.match(chat[3]?.error, { code: "INVALID_MESSAGES" }, "ids cannot be wrapped");
});

t.test("a wrong line has its error in its answer, and the others are answered", async (t) => {
  const good = '{"prompt":"a","maxTokens":1,"id":"good"}';
  const wrong: [string | Buffer, string, RegExp][] = [
    ["{", "INVALID_OPTION", /the line: expected JSON/],
    ["[1]", "INVALID_OPTION", /the line: expected an object/],
    ["{}", "INVALID_OPTION", /prompt: expected a string/],
    ['{"prompt":5}', "INVALID_OPTION", /prompt: expected a string or an array of token ids, got 5/],
    ['{"prompt":""}', "INVALID_OPTION", /prompt: expected at least one token/],
    ['{"prompt":[99999999]}', "INVALID_TOKEN", /prompt\[0\]: expected a token id/],
    ['{"prompt":"a","temperature":"hot"}', "INVALID_OPTION", /temperature: expected .* got "hot"/],
    ['{"prompt":"a","temp":1}', "INVALID_OPTION", /"temp" is not an option; did you mean "temperature"\?/],
    ['{"prompt":"a","__proto__":{}}', "INVALID_OPTION", /"__proto__" is not an option/],
    ['{"prompt":"a","maxTokens":null}', "INVALID_OPTION", /maxTokens: expected .* got null/],
    ['{"prompt":"a","signal":1}', "INVALID_OPTION", /signal: expected no such option/],
    ['{"prompt":"a","id":[]}', "INVALID_OPTION", /id: expected a string/],
    ['{"messages":"a"}', "INVALID_MESSAGES", /messages/],
    ['{"messages":[{"role":"user"}],"id":"m"}', "INVALID_MESSAGES", /messages\[0\]/],
    [`{"prompt":"${"a ".repeat(300)}"}`, "CONTEXT_OVERFLOW", /128/],
    [Buffer.from([0x22, 0xff, 0x22]), "INVALID_OPTION", /expected UTF-8/],
    ["\0\0", "INVALID_OPTION", /expected JSON/],
  ];
  const bytes = [good, ...wrong.flatMap(([line]) => [line, good])].flatMap((line) => [
    Buffer.from(line),
    Buffer.from("\n"),
  ]);
  const folder = t.testdir({ "x.jsonl": Buffer.concat(bytes) });
  const { code, stdout, stderr } = await runCli(many(join(folder, "x.jsonl"), "--parallel", "3"));
  t.equal(code, 1, stderr);
  t.equal(stderr, `lutra: ${wrong.length} of ${2 * wrong.length + 1} answers are errors\n`);
  const answers = parse(stdout);
  t.equal(answers.length, 2 * wrong.length + 1);
  for (const [i, [line, wanted, message]] of wrong.entries()) {
    const { index, error } = answers[2 * i + 1] as Answer;
    t.equal(index, 2 * i + 1);
    t.equal(error?.code, wanted, `${line}: ${error?.message}`);
    t.match(error?.message, message);
    t.ok(error?.message.startsWith(`line ${2 * i + 2}: `), `${error?.message}`);
    t.match(answers[2 * i + 2], { id: "good", tokens: Array });
  }
  t.equal(answers.find(({ id }) => id === "m")?.error?.code, "INVALID_MESSAGES", "the id is there where it can be");
});

/** The most memory the process ever had, as Linux counts it. */
function watchMemory(): { peakMb: () => number; options: CliOptions } {
  let peak = 0;
  const onStart: CliOptions["onStart"] = (child) => {
    const timer = setInterval(() => {
      try {
        peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? peak);
      } catch {
        // It has ended.
      }
    }, 5);
    child.once("close", () => clearInterval(timer));
  };
  return { peakMb: () => peak / 1000, options: { onStart } };
}

t.test("memory does not grow with the input", async (t) => {
  const good = '{"prompt":"a","maxTokens":1}\n';
  const long = Buffer.alloc(100 << 20, "a");
  const folder = t.testdir({ "small.jsonl": good, "wide.jsonl": "", "long.jsonl": "" });
  const path = (name: string) => join(folder, `${name}.jsonl`);
  writeFileSync(path("wide"), Buffer.concat([Buffer.from(good), long, Buffer.from(`\n${good}`), long]));
  writeFileSync(path("long"), good + '{"prompt":"a","temp":1}\n'.repeat(30_000) + good);
  const run = async (name: string) => {
    const { peakMb, options } = watchMemory();
    const { stdout, code } = await runCli(many(path(name)), options);
    return { code, peakMb: peakMb(), answers: parse(stdout) };
  };
  const small = await run("small");
  const wide = await run("wide");
  t.match(wide, { code: 1, answers: [{ tokens: Array }, { error: Object }, { tokens: Array }, { error: Object }] });
  t.match(wide.answers[1]?.error?.message, /^line 2: the line: expected at most 8388608 bytes, got more$/);
  const high = await run("long");
  t.match(high, { code: 1, answers: { length: 30_002 } });
  t.ok(high.answers.every(({ index }, i) => index === i));
  if (process.platform !== "linux") return;
  t.comment(`peaks: ${small.peakMb}, ${wide.peakMb}, ${high.peakMb} MB`);
  t.ok(wide.peakMb < small.peakMb + 60, `a line of 100 MB: ${wide.peakMb} MB, else ${small.peakMb}`);
  t.ok(high.peakMb < small.peakMb + 120, `30,000 lines: ${high.peakMb} MB, else ${small.peakMb}`);
});

t.test("a run goes on where it was torn, at any byte", async (t) => {
  const lines = [...mixed.slice(0, 5), { prompt: 5, id: "wrong" }, "the end"];
  const folder = t.testdir({ "x.jsonl": toLines(lines) });
  const [file, out] = [join(folder, "x.jsonl"), join(folder, "out.jsonl")];
  const args = many(file, "--seed", "3", "-o", out);
  const whole = await runCli(args);
  t.match(whole, { code: 1, stdout: "", stderr: "lutra: 1 of 7 answers is an error\n" });
  const text = readFileSync(out, "utf8");
  t.same(
    parse(text).map(({ index, id }) => [index, id]),
    [...mixed.slice(0, 5).map(({ id }, i) => [i, id]), [5, "wrong"], [6, undefined]],
  );
  const ends = [...text.matchAll(/\n/g)].map(({ index }) => index + 1);
  const first = ends[0] as number;
  const cuts = [9, first - 1, first, first + 5, text.length - 1];
  for (const cut of cuts) {
    writeFileSync(out, text.slice(0, cut));
    const run = await runCli(args);
    const kept = ends.filter((end) => end <= cut).length;
    const told = kept > 0 ? `${out}: ${kept} answers are there already\n` : "";
    t.match(run, { code: 1, stdout: "", stderr: `${told}lutra: 1 of 7 answers is an error\n` }, `cut at ${cut}`);
    const now = readFileSync(out, "utf8");
    t.ok(now.startsWith(text.slice(0, kept > 0 ? ends[kept - 1] : 0)), "what was whole is as it was");
    t.same(lasting(now), lasting(text));
  }
  const done = await runCli([...args, "-m", "nosuch"]);
  t.match(done, { code: 1, stderr: /7 answers are there already/ }, "nothing is left to do, so no model is needed");
});

t.test("a file that is not of this input is refused and left alone", async (t) => {
  const folder = t.testdir({ "x.jsonl": toLines(mixed.slice(0, 3)) });
  const [file, out] = [join(folder, "x.jsonl"), join(folder, "out.jsonl")];
  const args = many(file, "-o", out);
  t.match(await runCli(args), { code: 0 });
  const text = readFileSync(out, "utf8");
  const [one, two, three] = text.split("\n") as [string, string, string];
  const foreign: [string, string, RegExp][] = [
    ["a text", "my notes\n", /line 1 does not belong to this input: it is not JSON/],
    ["a text without an end", "my notes", /line 1 .* it is not the beginning of an answer/],
    ["another JSON", "[1]\n", /it is no JSON object/],
    ["another order", `${two}\n${one}\n`, /line 1 .*: line 1 of the input is another \(index: expected 0, got 1\)/],
    ["a gap", `${one}\n${three}\n`, /line 2 .* \(index: expected 1, got 2\)/],
    [
      "another id",
      `${one}\n${two.replace('"p1"', '"q1"')}\n`,
      /\(id: expected "\\"p1\\"", got "q1"\)|id: expected "p1", got "q1"/,
    ],
    ["another prompt", text.replace(/"input_hash":"./, '"input_hash":"x'), /\(input_hash: expected /],
    ["more answers", `${text}${three.replace('"index":2', '"index":3')}\n`, /line 4 .* the input has no prompt for it/],
    ["a torn one of elsewhere", `${one}\n{"index":7`, /line 2 .* it is not the beginning/],
  ];
  for (const [name, content, message] of foreign) {
    writeFileSync(out, content);
    const run = await runCli(args);
    t.match(
      run,
      { code: 2, stdout: "", stderr: /^lutra: --out [^\n]+; remove the file or name another \(INVALID_OPTION\)\n$/ },
      name,
    );
    t.match(run.stderr, message, name);
    t.equal(readFileSync(out, "utf8"), content, "as it was");
  }
});

/** Prompts of some tens of milliseconds each. */
const slow = Array.from({ length: 30 }, (_, i) => ({
  id: i,
  prompt: "a b c ".repeat(20),
  maxTokens: 40,
  ignoreEos: true,
}));

for (const signal of ["SIGKILL", "SIGINT"] as const) {
  t.test(`${signal}: finished lines are there, and the next run goes on`, async (t) => {
    const folder = t.testdir({ "x.jsonl": toLines(slow) });
    const out = join(folder, "out.jsonl");
    const model = ["generate", "-m", slowTinyModel(), "-t", "1", "-c", "512"];
    const args = [...model, "-f", join(folder, "x.jsonl"), "--parallel", "4", "--seed", "1", "-o", out];
    const linesOf = () => parse(readFileSync(out, "utf8").replace(/[^\n]*$/, ""));
    const stopped = await runCli(args, {
      onStart: (child) => {
        const timer = setInterval(() => {
          try {
            if (linesOf().length >= 3) child.kill(signal);
          } catch {
            // Not there yet.
          }
        }, 2);
        child.once("close", () => clearInterval(timer));
      },
    });
    t.equal(stopped.code, signal === "SIGINT" ? 130 : null, stopped.stderr);
    const before = readFileSync(out, "utf8");
    if (signal === "SIGINT") t.ok(before.endsWith("\n"), "no torn line");
    const kept = linesOf().length;
    t.ok(kept >= 3 && kept < slow.length, `${kept} of ${slow.length}`);
    const rest = await runCli(args);
    t.match(rest, { code: 0, stderr: `${out}: ${kept} answers are there already\n` });
    const answers = linesOf();
    t.same(
      answers.map(({ index, id }) => [index, id]),
      slow.map(({ id }) => [id, id]),
    );
    t.ok(answers.every(({ tokens }) => tokens?.length === 40));
    t.ok(readFileSync(out, "utf8").startsWith(before.slice(0, before.lastIndexOf("\n") + 1)));
  });
}

t.test("Ctrl-C while answers go to stdout, and a reader that goes away", async (t) => {
  const args = [...many("-", "--parallel", "2"), "--temp", "0"];
  const endless = Array.from({ length: 500 }, () => ({ prompt: "a b", maxTokens: 100, ignoreEos: true }));
  let sent = false;
  const interrupt: CliOptions["onStdout"] = (child) => {
    if (!sent) child.kill("SIGINT");
    sent = true;
  };
  const stopped = await runCli(args, { input: toLines(endless), onStdout: interrupt });
  t.equal(stopped.code, 130, stopped.stderr);
  t.ok(stopped.stdout.endsWith("\n"), "whole lines");
  const left = await runCli(args, { input: toLines(endless), onStdout: (child) => child.stdout?.destroy() });
  t.match(left, { code: 0, stderr: "" });
});

t.test("no prompts, no answers", async (t) => {
  const folder = t.testdir({ "x.jsonl": "\n \n" });
  t.match(await runCli(many(join(folder, "x.jsonl"))), { code: 0, stdout: "", stderr: "" });
});

const real = await cachedModel("smollm2-135m-instruct");
const skip = real === null ? "smollm2-135m-instruct is not in the cache (`lutra pull` puts it there)" : false;
t.test("the default model", { skip }, async (t) => {
  const lines = [
    { id: "france", prompt: "The capital of France is" },
    { id: "hi", messages: [{ role: "user", content: "Say hi." }] },
    { id: "sum", prompt: "1, 2, 3, 4,", maxTokens: 4 },
  ];
  const folder = t.testdir({ "x.jsonl": toLines(lines) });
  const args = ["generate", "-f", join(folder, "x.jsonl"), "--parallel", "3", "-c", "512", "-n", "8", "--temp", "0"];
  const { code, stdout, stderr } = await runCli(args);
  t.equal(code, 0, stderr);
  t.match(parse(stdout), [
    { index: 0, id: "france", text: /^ Paris/, usage: { prompt_tokens: 5, completion_tokens: 8 } },
    { index: 1, id: "hi", text: /^Hello/ },
    { index: 2, id: "sum", text: /5/ },
  ]);
});
