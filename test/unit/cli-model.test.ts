/** The command line on the default model, as a process. Skipped when the model is not in the cache. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { cachedModel, runCli } from "../support/run-cli.js";
import { sharedPath } from "../support/shared-data.js";

const model = await cachedModel("smollm2-135m-instruct");
const skip = model === null ? "smollm2-135m-instruct is not in the cache (`lutra pull` puts it there)" : false;
const prompt = "The capital of France is";
const greedy = ["-n", "8", "--temp", "0"];

t.test("generate prints the continuation, and nothing else", { skip }, async (t) => {
  const { code, stdout, stderr } = await runCli(["generate", "-p", prompt, ...greedy]);
  t.equal(code, 0, stderr);
  t.match(stdout, /^ Paris/);
  t.equal(stderr, "");
  const file = join(t.testdir({ "prompt.txt": `${prompt}\n` }), "prompt.txt");
  const ways: [string, string[], Parameters<typeof runCli>[1]][] = [
    ["an argument", [prompt], {}],
    ["-f", ["-f", file], {}],
    ["stdin", [], { input: `${prompt}\n` }],
    ["LUTRA_PROMPT", [], { env: { LUTRA_PROMPT: prompt } }],
    ["LUTRA_PROMPT, and a flag that wins", ["-p", prompt], { env: { LUTRA_PROMPT: "1 2 3" } }],
    ["--no-stream", [prompt, "--no-stream"], {}],
    ["one thread", [prompt, "-t", "1"], {}],
    ["flags from the environment", [prompt, "--temp", "0"], { env: { LUTRA_TEMP: "2", LUTRA_SEED: "1" } }],
  ];
  for (const [name, args, options] of ways) {
    t.equal((await runCli(["generate", ...greedy, ...args], options)).stdout, stdout, name);
  }
});

t.test("generate --json, --timings and the samplers", { skip }, async (t) => {
  const { code, stdout, stderr } = await runCli([
    "generate",
    prompt,
    ...greedy,
    "--json",
    "--timings",
    "--logprobs",
    "1",
  ]);
  t.equal(code, 0, stderr);
  const document = JSON.parse(stdout);
  t.same(Object.keys(document), ["text", "tokens", "finish_reason", "usage", "timings", "speculation", "logprobs"]);
  t.equal(document.finish_reason, "length");
  t.equal(document.tokens.length, 8);
  t.same(document.usage, { prompt_tokens: 5, cached_tokens: 0, completion_tokens: 8 });
  const timings = [
    "load_ms",
    "prompt_ms",
    "prompt_per_second",
    "predicted_ms",
    "predicted_per_second",
    "approximations",
  ];
  t.same(Object.keys(document.timings), timings);
  t.same(Object.keys(document.speculation), ["steps", "drafted", "accepted", "mean_accepted", "per_drafter", "widths"]);
  t.equal(document.logprobs.length, 8);
  t.match(stderr, /^load .*\nprompt .* tokens\/s\ngenerate .* tokens\/s\n$/);
  const hot = [
    "generate",
    prompt,
    "-n",
    "12",
    "--temp",
    "1.2",
    "--top-k",
    "40",
    "--top-p",
    "0.95",
    "--min-p",
    "0.02",
    "--typical",
    "0.9",
  ];
  const penalties = [
    "--repeat-penalty",
    "1.1",
    "--repeat-last-n",
    "32",
    "--presence-penalty",
    "0.1",
    "--frequency-penalty",
    "0.1",
  ];
  const seeded = (seed: string) => runCli([...hot, ...penalties, "-s", seed]);
  const [first, again, other] = [await seeded("7"), await seeded("7"), await seeded("8")];
  t.equal(first.code, 0, first.stderr);
  t.equal(first.stdout, again.stdout, "the same seed gives the same text");
  t.not(first.stdout, other.stdout);
  const stopped = await runCli([
    "generate",
    prompt,
    "--temp",
    "0",
    "-n",
    "20",
    "--stop",
    "zzz",
    "--stop",
    "aris",
    "--json",
  ]);
  t.match(JSON.parse(stopped.stdout), { text: " P", finish_reason: "stop" });
});

t.test("failures of a request", { skip }, async (t) => {
  t.match(await runCli(["generate", "a ".repeat(100), "-c", "16"]), {
    code: 1,
    stdout: "",
    stderr: /^lutra: .*16.*\(CONTEXT_OVERFLOW\)\n$/,
  });
  t.match(await runCli(["generate", "x", "--temp", "-1"]), { code: 2, stderr: /temperature.*\(INVALID_OPTION\)/ });
  t.match(await runCli(["generate", "x", "--isa", "neon"]), { code: 2, stderr: /isa.*\(INVALID_OPTION\)/ });
  t.match(await runCli(["generate", "x", "--chat", "--chat-template-file", "nosuch"]), {
    code: 1,
    stderr: /cannot read nosuch/,
  });
  const gemma = await cachedModel("gemma-3-270m");
  if (gemma === null) return t.pass("gemma-3-270m is not in the cache: not tried");
  t.match(await runCli(["generate", "-m", gemma, "--chat", "x"]), {
    code: 1,
    stderr: /--chat-template-file.*\(TEMPLATE_MISSING\)/,
  });
});

t.test("chat", { skip }, async (t) => {
  const chat = await runCli(["generate", "--chat", "Say hi.", ...greedy]);
  t.match(chat, { code: 0, stdout: /^Hello/ });
  const folder = t.testdir({ "template.txt": "{{ messages[0].content }}" });
  const plain = await runCli([
    "generate",
    "--chat",
    prompt,
    "--chat-template-file",
    join(folder, "template.txt"),
    ...greedy,
  ]);
  t.match(plain, { code: 0, stdout: /^ Paris/ }, "a template of one's own");
});

t.test("Ctrl-C prints what there is and exits with 130", { skip }, async (t) => {
  let sent = false;
  const interrupt = (child: { kill(signal: "SIGINT"): void }) => {
    if (!sent) child.kill("SIGINT");
    sent = true;
  };
  const live = await runCli(["generate", "Once upon a time", "--temp", "0"], { onStdout: interrupt });
  t.equal(live.code, 130, live.stderr);
  t.ok(live.stdout.length > 0);
  t.equal(live.stderr, "");
  const json = await runCli(["generate", "Once upon a time", "--temp", "0", "--json"], {
    onStart: (child) => setTimeout(() => child.kill("SIGINT"), 3000),
  });
  t.equal(json.code, 130, json.stderr);
  if (json.stdout === "") return;
  const { finish_reason, usage, tokens } = JSON.parse(json.stdout);
  t.equal(finish_reason, "abort");
  t.match(usage, { prompt_tokens: 4, completion_tokens: tokens.length });
});

t.test("a reader that goes away ends the process quietly", { skip }, async (t) => {
  // Several times: the step that the exit interrupts is at another layer in each.
  for (let i = 0; i < 5; i++) {
    const run = await runCli(["generate", "Once upon a time", "--temp", "0"], {
      onStdout: (child) => child.stdout?.destroy(),
    });
    t.match(run, { code: 0, stderr: "" });
  }
});

t.test("tokenize", { skip }, async (t) => {
  t.match(await runCli(["tokenize", "--ids", "Hello world"]), { code: 0, stdout: "[19556,905]\n", stderr: "" });
  t.match(await runCli(["tokenize", "--ids"], { input: "Hello world" }), { code: 0, stdout: "[19556,905]\n" });
  t.match(await runCli(["tokenize", "Hello world"]), { code: 0, stdout: '  19556  "Hello"\n    905  " world"\n' });
  const { stdout } = await runCli(["tokenize", "--json", "--parse-special", "<|im_start|>a"]);
  t.equal(JSON.parse(stdout).tokens[0].piece, "<|im_start|>");
  const special = await runCli(["tokenize", "--json", "<|im_start|>a"]);
  t.ok(JSON.parse(special.stdout).count > 2, "without the flag it is plain text");
});

const vocabulary = sharedPath("tokenizer/llama-spm.gguf");
t.test("tokenize on a vocabulary-only file", { skip: vocabulary === null && "no shared tokenizers" }, async (t) => {
  const ids = async (...flags: string[]) => {
    const { stdout, stderr } = await runCli(["tokenize", "-m", vocabulary as string, "--ids", ...flags, "Hello"]);
    t.equal(stderr, "");
    return JSON.parse(stdout) as number[];
  };
  t.same(await ids(), [1, ...(await ids("--no-special"))]);
  t.match(await runCli(["generate", "-m", vocabulary as string, "x"]), { code: 1, stderr: /\([A-Z_]+\)\n$/ });
});

t.test("perplexity", { skip }, async (t) => {
  const file = join(t.testdir({}), "ids.json");
  const text = "The quick brown fox jumps over the lazy dog. The capital of France is Paris.";
  const { stdout } = await runCli(["tokenize", "--ids", text]);
  writeFileSync(file, stdout);
  const byText = await runCli(["perplexity", text, "--json"]);
  const byIds = await runCli(["perplexity", "--ids", file, "--json"]);
  t.equal(byIds.code, 0, byIds.stderr);
  const [one, two] = [JSON.parse(byText.stdout), JSON.parse(byIds.stdout)];
  t.equal(one.ppl, two.ppl);
  t.equal(one.tokens, JSON.parse(stdout).length);
  t.ok(one.ppl > 1 && one.ppl < 100, `${one.ppl}`);
  t.match(await runCli(["perplexity", "--ids", file, "-c", "4"]), { code: 2, stderr: /one sequence/ });
  writeFileSync(file, "[1]");
  t.match(await runCli(["perplexity", "--ids", file]), { code: 2, stderr: /text: expected at least 2 tokens/ });
  writeFileSync(file, "[1, 99999999]");
  t.match(await runCli(["perplexity", "--ids", file]), { code: 2, stderr: /text\[1\].*\(INVALID_TOKEN\)/ });
  writeFileSync(file, "[1, -2]");
  t.match(await runCli(["perplexity", "--ids", file]), { code: 2, stderr: /JSON array of token ids/ });
});

t.test("inspect, bench and doctor", { skip }, async (t) => {
  const inspected = JSON.parse((await runCli(["inspect", "--json"])).stdout);
  t.match(inspected, { version: 3, loadable: true, size_bytes: 98_362_432 });
  t.ok(inspected.tensors.filter((tensor: { kernel: string | null }) => tensor.kernel).length > 200, "kernel paths");
  t.ok(inspected.memory.total_bytes > inspected.memory.weights_bytes);
  const header = JSON.parse((await runCli(["inspect", "--json", "--no-load"])).stdout);
  t.match(header, { loadable: null });
  const bench = await runCli(["bench", "-p", "16", "-n", "4", "-r", "2", "-d", "0,32", "-o", "json"]);
  t.equal(bench.code, 0, bench.stderr);
  const rows = JSON.parse(bench.stdout);
  t.same(
    rows.map((row: { test: string }) => row.test),
    ["pp16", "tg4", "pp16 @ d32", "tg4 @ d32"],
  );
  const rowKeys =
    "test n_prompt n_gen depth batch threads engine tokens_per_second samples spread read_ceiling_gb_s share_of_ceiling";
  for (const row of rows) {
    t.same(Object.keys(row), rowKeys.split(" "));
    t.match(row, { engine: "lutra", batch: 1, samples: [Number, Number], spread: Number, read_ceiling_gb_s: Number });
    t.ok(row.tokens_per_second > 0);
    if (row.n_gen > 0) t.ok(row.share_of_ceiling > 0, `${row.share_of_ceiling}`);
  }
  const doctor = await runCli(["doctor", "--json"]);
  t.match(JSON.parse(doctor.stdout), {
    node: process.version,
    isa: String,
    threads: Number,
    read_ceiling_gb_s: Number,
    cache_folder: String,
  });
  t.match(await runCli(["doctor"]), { code: 0, stdout: /^binary .*lutra.node$/m });
});
