/** `lutra bench --concurrency`: percentiles, goodput, rows and prompts, and the command on a tiny model. */
import t from "tap";
import {
  type ClientsRun,
  type ConcurrencyRow,
  concurrencyName,
  concurrencyRow,
  countGood,
  gaps,
  neededRoom,
  percentile,
  PromptSource,
  type RequestTimes,
  runClients,
  timePerOutputToken,
  timeToFirstToken,
} from "../../dist/esm/bench/index.js";
import { concurrencyTable } from "../../dist/esm/cli/bench/concurrency.js";
import { toCsv } from "../../dist/esm/cli/bench/output.js";
import { loadModel } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";

const test = { clients: 2, nPrompt: 16, nGen: 3, sharedPrefix: 0 };
/** Submitted at `submitted`, tokens after 10, 14 and 20 ms times `slow`. */
const times = (submitted: number, slow = 1): RequestTimes => ({
  submitted,
  arrivals: [10, 14, 20].map((ms) => submitted + ms * slow),
});

t.test("percentiles lie between the two nearest ranks", async (t) => {
  t.equal(percentile([5], 0.99), 5);
  t.equal(percentile([3, 1, 2], 0.5), 2);
  t.equal(percentile([4, 1, 2, 3], 0.5), 2.5);
  t.equal(percentile([1, 2, 3], 0), 1);
  t.equal(percentile([1, 2, 3], 1), 3);
  const hundred = Array.from({ length: 101 }, (_, i) => 100 - i);
  t.equal(percentile(hundred, 0.99), 99);
  t.ok(Math.abs(percentile([0, 10], 0.99) - 9.9) < 1e-12);
  t.equal(hundred[0], 100, "the values are as they were");
});

t.test("times of a request, and goodput", async (t) => {
  t.equal(timeToFirstToken(times(100)), 10);
  t.equal(timePerOutputToken(times(100)), 5);
  t.same(gaps(times(100)), [4, 6]);
  const all = [times(0), times(5, 2), times(9, 3)];
  t.equal(countGood(all, { ttftMs: 1000, tpotMs: 1000 }), 3);
  t.equal(countGood(all, { ttftMs: 20, tpotMs: 1000 }), 2, "the bound itself is kept");
  t.equal(countGood(all, { ttftMs: 1000, tpotMs: 9 }), 1);
  t.equal(countGood(all, { ttftMs: 9, tpotMs: 1000 }), 0);
  t.equal(countGood(all, { ttftMs: 20, tpotMs: 5 }), 1, "both bounds, of one request");
});

t.test("rows", async (t) => {
  const runs: ClientsRun[] = [
    { ms: 50, requests: [times(0), times(0, 2), times(20, 1), times(20, 1)] },
    { ms: 100, requests: [times(0, 3), times(0, 3), times(40, 1), times(40, 1)] },
  ];
  const row = concurrencyRow(test, { runs, ceilings: [10, 30], threads: 2, bounds: { ttftMs: 10, tpotMs: 100 } });
  t.same(row, {
    test: "c2 pp16 tg3",
    n_prompt: 16,
    n_gen: 3,
    depth: 0,
    batch: 2,
    threads: 2,
    engine: "lutra",
    tokens_per_second: (240 + 120) / 2,
    samples: [240, 120],
    spread: row.spread,
    read_ceiling_gb_s: 20,
    share_of_ceiling: null,
    concurrency: 2,
    shared_prefix: 0,
    requests: 8,
    ttft_p50_ms: 10,
    ttft_p99_ms: 30,
    tpot_p50_ms: 5,
    tpot_p99_ms: 15,
    gap_p50_ms: 6,
    gap_p99_ms: 18,
    requests_per_second: 8 / 0.15,
    goodput: 5 / 0.15,
    goodput_share: 5 / 8,
    max_ttft_ms: 10,
    max_tpot_ms: 100,
  });
  t.equal(
    concurrencyTable([row], "a title", [{ ...row, tokens_per_second: 90 }]),
    "a title\n\n" +
      "| test | tokens/s | TTFT ms p50 / p99 | TPOT ms p50 / p99 | gap ms p50 / p99 | requests/s | goodput | ÷ earlier |\n" +
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n" +
      "| c2 pp16 tg3 | 180.00 ± 84.85 | 10 / 30 | 5.0 / 15.0 | 6.0 / 18.0 | 53.33 | 33.33 (63 %) | 2.00 × |\n",
  );
  const [head, values, ...others] = toCsv([row]).split("\n");
  t.equal(head?.split(",").length, values?.split(",").length);
  t.match(head, /share_of_ceiling,concurrency,shared_prefix,requests,ttft_p50_ms,/);
  t.same(others, [""]);
});

t.test("names, room and prompts", async (t) => {
  t.equal(concurrencyName({ clients: 8, nPrompt: 128, nGen: 64, sharedPrefix: 0 }), "c8 pp128 tg64");
  t.equal(concurrencyName({ clients: 1, nPrompt: 1, nGen: 2, sharedPrefix: 1024 }), "c1 pp1 tg2 prefix1024");
  t.same(neededRoom([test, { ...test, sharedPrefix: 100, clients: 8 }]), { contextSize: 119, maxSequences: 8 });
  t.equal(neededRoom([{ ...test, clients: 500 }]).maxSequences, 64, "more clients wait in the queue");
  const prompts = new PromptSource(1000);
  const taken = Array.from({ length: 200 }, () => prompts.take(test));
  t.equal(new Set(taken.map((ids) => String(ids))).size, 200, "no two prompts are alike");
  t.equal(new Set(taken.map((ids) => String(ids.slice(0, 3)))).size, 200, "from the first page on");
  t.ok(taken.flat().every((id) => Number.isInteger(id) && id >= 0 && id < 1000));
  t.same(new PromptSource(1000).take(test), taken[0], "the same in every process");
  const shared = { ...test, sharedPrefix: 32 };
  const [one, two] = [prompts.take(shared), prompts.take(shared)];
  t.equal(one.length, 48);
  t.same(one.slice(0, 32), two.slice(0, 32));
  t.notSame(one.slice(32), two.slice(32));
});

t.test("clients send one request after the other, and a failure ends them all", async (t) => {
  await using model = await loadModel(tinyModel(), { contextSize: 64, maxSequences: 3, threads: 1 });
  const { signal } = new AbortController();
  let most = 0;
  const timer = setInterval(() => {
    const { running, queued } = model.metrics();
    most = Math.max(most, running + queued);
  }, 0);
  const prompts = new PromptSource(model.info.vocabSize);
  const wanted = { clients: 3, nPrompt: 10, nGen: 20, sharedPrefix: 4 };
  const run = await runClients(model, wanted, { prompts, requests: 5, signal });
  clearInterval(timer);
  t.equal(run.requests.length, 15);
  t.ok(most <= 3, `${most} at once`);
  t.equal(model.metrics().promptTokens, 15 * 14);
  for (const { submitted, arrivals } of run.requests) {
    t.equal(arrivals.length, 20);
    t.ok(arrivals.every((at, i) => at >= (arrivals[i - 1] ?? submitted)));
  }
  const total = run.requests.reduce((sum, each) => sum + (each.arrivals.at(-1) as number) - each.submitted, 0);
  t.ok(total <= 3 * run.ms, "three at once at most");
  const tooLong = runClients(model, { ...wanted, nPrompt: 100 }, { prompts, requests: 5, signal });
  await t.rejects(tooLong, { code: "CONTEXT_OVERFLOW" });
  const aborted = runClients(model, wanted, { prompts, requests: 5000, signal: AbortSignal.timeout(50) });
  await t.rejects(aborted, { code: "ABORTED" });
  t.match(model.metrics(), { running: 0, queued: 0 });
});

const bench = (...args: string[]) => runCli(["bench", "-m", tinyModel(), "-t", "1", "-r", "2", ...args]);

t.test("usage", async (t) => {
  const wrong: [string[], RegExp][] = [
    [["--concurrency", "0"], /--concurrency.*Expected 1 to 576 clients/],
    [["--concurrency", "1,1000"], /--concurrency.*Expected 1 to 576 clients/],
    [["--concurrency", "x"], /--concurrency.*Expected numbers such as/],
    [["--concurrency", "2", "-b", "2"], /'--concurrency <list>' cannot be used with option '-b, --batch <list>'/],
    [["--concurrency", "2", "-d", "2"], /cannot be used with option '-d, --n-depth <list>'/],
    [["--concurrency", "2", "--profile"], /cannot be used with option '--profile'/],
    [["--concurrency", "2", "-o", "svg"], /--concurrency has no plot/],
    [["--concurrency", "2", "-o", "csv", "--json"], /exclude each other/],
    [["--concurrency", "2", "-p", "0"], /-p: clients of --concurrency need prompts/],
    [["--concurrency", "2", "-n", "1"], /-n: clients of --concurrency need 2 tokens/],
    [["--concurrency", "2", "--requests", "0"], /--requests.*at least 1/],
    [["--concurrency", "2", "--shared-prefix", "-1"], /--shared-prefix.*at least 0/],
    [["--concurrency", "2", "--max-ttft", "fast"], /--max-ttft.*Expected a number/],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await bench(...args);
    t.equal(code, 2, stderr);
    t.equal(stdout, "");
    t.match(stderr, message);
    t.match(stderr, /^lutra: [^\n]+\n$/, "one line");
  }
  t.match(await bench("-p", "8"), { code: 0 }, "without it, as ever");
});

t.test("the command", async (t) => {
  const args = ["--concurrency", "1-4*2", "-p", "16", "-n", "8", "--requests", "3"];
  const { code, stdout, stderr } = await bench(...args, "-o", "json");
  t.equal(code, 0, stderr);
  const rows = JSON.parse(stdout) as ConcurrencyRow[];
  t.same(
    rows.map((row) => row.test),
    ["c1 pp16 tg8", "c2 pp16 tg8", "c4 pp16 tg8"],
  );
  for (const row of rows) {
    t.match(row, { engine: "lutra", samples: [Number, Number], requests: row.batch * 3 * 2, max_ttft_ms: 2000 });
    for (const name of ["ttft", "tpot", "gap"] as const)
      t.ok(row[`${name}_p50_ms`] > 0 && row[`${name}_p99_ms`] >= row[`${name}_p50_ms`], name);
    t.ok(row.goodput <= row.requests_per_second && row.goodput_share <= 1);
    t.ok(row.tokens_per_second > row.requests_per_second);
  }
  t.match(stderr, /^c1 pp16 tg8: [\d.]+ tokens\/s, TTFT \d+ ms, TPOT [\d.]+ ms\n/);
  const strict = await bench(...args, "--max-tpot", "1", "--max-ttft", "1", "--shared-prefix", "40");
  t.match(strict, { code: 0, stdout: /\n\| c4 pp16 tg8 prefix40 \| .* \| [\d.]+ \([0-9]+ %\) \|\n$/, stderr: "" });
  const fromEnvironment = await runCli(["bench", "-m", tinyModel(), "-p", "4", "-n", "2", "-r", "1", "-o", "csv"], {
    env: { LUTRA_CONCURRENCY: "2", LUTRA_REQUESTS: "1" },
  });
  t.match(fromEnvironment, { code: 0, stdout: /^test,n_prompt,[^\n]*\nc2 pp4 tg2,4,2,0,2,[^\n]*\n$/ });
});
