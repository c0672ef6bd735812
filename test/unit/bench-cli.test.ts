/** `lutra bench` as a process, on the default model. What needs it is skipped when it is not in the cache. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { BenchRow } from "../../dist/esm/bench/index.js";
import { installedPeer, peerFolder } from "../../bench/compare/peer-folder.mjs";
import { cachedModel, runCli } from "../support/run-cli.js";

const model = await cachedModel("smollm2-135m-instruct");
const skip = model === null ? "smollm2-135m-instruct is not in the cache (`lutra pull` puts it there)" : false;
// One thread: on a busy machine several wait for each other, the peer's for minutes.
const small = ["bench", "-t", "1", "-r", "2"];
const rowKeys =
  "test n_prompt n_gen depth batch threads engine tokens_per_second samples spread read_ceiling_gb_s share_of_ceiling";

t.test("wrong use is told before anything is measured", async (t) => {
  const folder = t.testdir({ "foreign.json": "[{}]", "broken.json": "[{", "text.json": '"hello"' });
  const file = (name: string) => join(folder, name);
  const wrong: [string, string[], RegExp][] = [
    ["an unknown peer", ["--peer", "ollama"], /--peer.*Allowed choices are node-llama-cpp/],
    ["a batch of none", ["-b", "0"], /-b.*Expected 1 to 64 streams/],
    ["a batch too large", ["-b", "1,65"], /-b.*Expected 1 to 64 streams/],
    ["too many values", ["-n", "1-100"], /At most 64 values/],
    ["an unknown format", ["-o", "xml"], /Allowed choices are md, json, csv, svg/],
    [
      "a foreign file",
      ["--compare", file("foreign.json")],
      /foreign\.json: row 0: test: expected a string, got undefined/,
    ],
    ["a broken file", ["--compare", file("broken.json")], /broken\.json: expected the JSON that .* got "\[\{"/],
    ["a file that is no list", ["--compare", file("text.json")], /text\.json: expected an array of rows, got "hello"/],
  ];
  for (const [name, args, message] of wrong) {
    const { code, stdout, stderr } = await runCli(["bench", ...args]);
    t.equal(code, 2, `${name}: ${stderr}`);
    t.equal(stdout, "");
    t.match(stderr, message, name);
    t.match(stderr, /^lutra: [^\n]+\n$/, "one line");
  }
  t.match(await runCli(["bench", "--compare", file("nosuch.json")]), {
    code: 1,
    stdout: "",
    stderr: /cannot read .*nosuch\.json: ENOENT \(E_IO\)\n$/,
  });
  t.match(await runCli(["bench", "--peer", "node-llama-cpp"], { env: { LUTRA_PEER: folder } }), {
    code: 2,
    stdout: "",
    stderr:
      /^lutra: --peer: node-llama-cpp is not installed in .* npm install node-llama-cpp, .*LUTRA_PEER.* \(USAGE\)\n$/,
  });
});

t.test("rows of depths and batches", { skip }, async (t) => {
  const { code, stdout, stderr } = await runCli([...small, "-p", "16", "-n", "8", "-d", "0,32", "-b", "1,3", "--json"]);
  t.equal(code, 0, stderr);
  const rows = JSON.parse(stdout) as BenchRow[];
  t.same(
    rows.map(({ test }) => test),
    ["", " b3"]
      .flatMap((b) => [`pp16${b}`, `tg8${b}`])
      .concat(["", " b3"].flatMap((b) => [`pp16${b} @ d32`, `tg8${b} @ d32`])),
  );
  for (const row of rows) {
    t.same(Object.keys(row), rowKeys.split(" "));
    t.match(row, { engine: "lutra", samples: [Number, Number], spread: Number, read_ceiling_gb_s: Number });
    t.ok(row.tokens_per_second > 0, row.test);
    t.equal(row.tokens_per_second, ((row.samples[0] as number) + (row.samples[1] as number)) / 2);
    // The share itself may be anything on a busy machine; the bytes behind it may not.
    const bytes = ((row.share_of_ceiling ?? 0) * row.read_ceiling_gb_s * 1e9) / row.tokens_per_second;
    const [low, high] = [90e6 / row.batch, 110e6 / row.batch + 30_000 * row.depth];
    if (row.n_gen > 0) t.ok(bytes > low && bytes < high, `${row.test}: ${bytes} bytes a token`);
    else t.equal(row.share_of_ceiling, null);
  }
  const file = join(t.testdir({}), "base.json");
  writeFileSync(file, JSON.stringify(rows.map((row) => ({ ...row, tokens_per_second: 1e9 }))));
  const compared = await runCli([...small, "-p", "16", "-n", "0", "--compare", file]);
  t.match(compared, { code: 0, stdout: /\| pp16 \| .* \| 0\.00 × \|\n$/ }, "a slower run is no failure");
  const beside = await runCli([...small, "-p", "0", "-n", "8", "-o", "csv", "--compare", file]);
  t.match(beside, { code: 0, stdout: /^test,[^\n]*\ntg8,0,8,[^\n]*\n$/, stderr: /0\.00 × the earlier run\n$/ });
});

t.test("a plot", { skip }, async (t) => {
  const { code, stdout, stderr } = await runCli([...small, "-p", "16", "-n", "8", "-o", "svg"]);
  t.equal(code, 0, stderr);
  t.match(stdout, /^<svg [\s\S]*<\/svg>\s*$/);
  t.match(stdout, "tg8");
});

t.test("a profile of the steps", { skip }, async (t) => {
  const args = ["bench", "-t", "1", "-r", "1", "-p", "16", "-n", "8", "-d", "0,32", "--profile"];
  const { code, stdout, stderr } = await runCli([...args, "-o", "json"]);
  t.equal(code, 0, stderr);
  for (const { test, n_gen, profile } of JSON.parse(stdout) as BenchRow[]) {
    if (profile === undefined) return t.fail(`${test} has no profile`);
    const sum = profile.operators.reduce((total, { share }) => total + share, 0);
    t.ok(sum > 0.95 && sum < 1.01, `${test}: the operators are the step: ${sum}`);
    const spent = profile.operators.reduce((total, { us_per_step }) => total + us_per_step, 0);
    t.ok(Math.abs(spent / profile.step_us - sum) < 1e-6, "the shares are of the step's time");
    for (const op of ["qkv", "attend", "gate_up", "down", "head"])
      t.ok(
        profile.operators.some((each) => each.op === op),
        `${test}: ${op}`,
      );
    t.ok((profile.js_share ?? 9) > -0.5 && (profile.js_share ?? 9) < 1, `${profile.js_share}`);
    // A few steps may pass before the counters are set back.
    const steps = n_gen > 0 ? [4, 5, 6, 7, 8] : [1];
    t.ok(steps.includes(profile.steps), `${test}: ${profile.steps} steps`);
  }
  t.match(await runCli([...args.slice(0, 5), "-p", "0", "-n", "8", "--profile"]), {
    code: 0,
    stdout: /\n\ntg8: \d steps of \d+ µs in native code, TypeScript -?[\d.]+ % of a step's time\n\n\| operator \|/,
  });
});

const noPeer = installedPeer() === null && "node-llama-cpp is not installed: node bench/compare/install-peer.mjs";
t.test("the peer beside Lutra", { skip: skip || noPeer }, async (t) => {
  const env = { LUTRA_PEER: peerFolder };
  const args = [...small, "-p", "16", "-n", "32", "-d", "8", "-b", "2", "--peer", "node-llama-cpp"];
  const { code, stdout, stderr } = await runCli([...args, "-o", "json"], { env });
  t.equal(code, 0, stderr);
  const rows = JSON.parse(stdout) as BenchRow[];
  t.same(
    rows.map(({ test, engine }) => `${test} ${engine}`),
    ["pp16 b2 @ d8", "tg32 b2 @ d8"].flatMap((test) => [`${test} lutra`, `${test} node-llama-cpp`]),
  );
  for (const row of rows) {
    t.same(Object.keys(row), rowKeys.split(" "));
    t.ok(row.samples.length === 2 && row.samples.every((sample) => sample > 0), `${row.samples}`);
    t.equal(row.threads, rows[0]?.threads);
  }
});

t.test("a peer that fails ends the command with one line", { skip }, async (t) => {
  const folder = t.testdir({});
  const peer = join(folder, "node_modules", "node-llama-cpp");
  const failing = async (module: string) => {
    mkdirSync(join(peer, "dist"), { recursive: true });
    writeFileSync(join(peer, "package.json"), JSON.stringify({ name: "node-llama-cpp", type: "module" }));
    writeFileSync(join(peer, "dist", "index.js"), module);
    return runCli([...small, "-p", "16", "--peer", "node-llama-cpp"], { env: { LUTRA_PEER: folder } });
  };
  const thrown = await failing('export async function getLlama() { throw new Error("no such CPU"); }');
  t.match(thrown, { code: 1, stdout: "", stderr: "lutra: node-llama-cpp: no such CPU (PEER_FAILED)\n" });
  const dead = await failing('console.error("out of luck"); process.exit(7);');
  t.match(dead, { code: 1, stderr: /^lutra: .*ended with code 7.*out of luck.* \(PEER_FAILED\)\n$/ });
});

t.test("Ctrl-C ends the command and the peer", { skip: skip || noPeer }, async (t) => {
  const args = ["bench", "-t", "1", "-p", "0", "-n", "2000", "-r", "50", "--peer", "node-llama-cpp"];
  const run = await runCli(args, {
    env: { LUTRA_PEER: peerFolder },
    onStart: (child) => setTimeout(() => child.kill("SIGINT"), 6000),
  });
  t.match(run, { code: 130, stdout: "", stderr: "" });
});
