/** The bench's pure parts: lists, names, rows, bytes, comparison, profile, and the forms of output. */
import t from "tap";
import {
  type BenchRow,
  type BenchTest,
  benchRow,
  bytesPerToken,
  deviation,
  listTests,
  median,
  neededContext,
  parseBase,
  plotRows,
  ratioToBase,
  streamPrompts,
  summarizeProfile,
  testName,
} from "../../dist/esm/bench/index.js";
import { parseBatches, parseList } from "../../dist/esm/cli/bench/flags.js";
import { toCsv, toMarkdown, toProfiles, toRatios } from "../../dist/esm/cli/bench/output.js";

const test = (kind: "pp" | "tg", n: number, depth = 0, batch = 1): BenchTest => ({ kind, n, depth, batch });

function row(of: BenchTest, engine: string, samples: number[]): BenchRow {
  return benchRow(of, { engine, threads: 2, samples, ceilings: [30], bytesPerToken: 1e8 });
}

const rows = [
  row(test("pp", 512), "lutra", [900, 1000, 1100]),
  row(test("pp", 512), "node-llama-cpp", [200, 250, 300]),
  row(test("tg", 128, 4096, 4), "lutra", [150, 160, 155]),
  row(test("tg", 128, 4096, 4), "node-llama-cpp", [50, 60, 40]),
];

t.test("lists and ranges", async (t) => {
  t.same(parseList("512"), [512]);
  t.same(parseList("1,2, 8"), [1, 2, 8]);
  t.same(parseList("128-512*2"), [128, 256, 512]);
  t.same(parseList("0-4096+2048"), [0, 2048, 4096]);
  t.same(parseList("1-3,7"), [1, 2, 3, 7]);
  for (const bad of ["", "x", "-1", "5-1", "0-8*2", "1-8*1", "1-8+0", "1-1000", "1.5"])
    t.throws(() => parseList(bad), bad);
  t.same(parseBatches("1-8*2"), [1, 2, 4, 8]);
  for (const bad of ["0", "0,1", "65", "1,1000", "x"]) t.throws(() => parseBatches(bad), bad);
});

t.test("tests and their names", async (t) => {
  t.equal(testName(test("pp", 512)), "pp512");
  t.equal(testName(test("tg", 128)), "tg128");
  t.equal(testName(test("tg", 128, 4096)), "tg128 @ d4096");
  t.equal(testName(test("tg", 128, 0, 4)), "tg128 b4");
  t.equal(testName(test("pp", 64, 32, 2)), "pp64 b2 @ d32");
  const tests = listTests({ nPrompt: [16, 0], nGen: [4], nDepth: [0, 8], batch: [1, 2] });
  t.same(tests.map(testName), [
    "pp16",
    "tg4",
    "pp16 b2",
    "tg4 b2",
    "pp16 @ d8",
    "tg4 @ d8",
    "pp16 b2 @ d8",
    "tg4 b2 @ d8",
  ]);
  t.same(listTests({ nPrompt: [0], nGen: [0], nDepth: [0], batch: [1] }), []);
  t.ok(neededContext([test("pp", 512, 100)]) > 612);
  t.equal(neededContext([test("tg", 128)]), 1 + 128 + 1);
  t.ok(
    neededContext([test("tg", 128, 4096, 4)]) >= 4096 + 128 + 1 + 64,
    "the first stream goes on during other prompts",
  );
});

t.test("prompts are the same in every process, and others in every round and stream", async (t) => {
  const one = streamPrompts(test("pp", 16, 4, 3), 1000, 1);
  t.same(streamPrompts(test("pp", 16, 4, 3), 1000, 1), one);
  t.same(
    one.map((ids) => ids.length),
    [20, 20, 20],
  );
  const heads = [0, 1, 2].flatMap((round) => streamPrompts(test("pp", 16, 4, 3), 1000, round).map(([id]) => id));
  t.equal(new Set(heads).size, heads.length, `${heads}`);
  t.ok(one.flat().every((id) => id >= 0 && id < 1000));
  t.equal(streamPrompts(test("tg", 128), 1000, 1)[0]?.length, 1, "generation needs a token to start from");
});

t.test("rows", async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.equal(deviation([2]), 0);
  t.ok(Math.abs(deviation([1, 2, 3, 4]) - 1.2909944) < 1e-6);
  const noisy = row(test("tg", 128, 64, 2), "lutra", [100, 300, 110]);
  t.same(noisy, {
    test: "tg128 b2 @ d64",
    n_prompt: 0,
    n_gen: 128,
    depth: 64,
    batch: 2,
    threads: 2,
    engine: "lutra",
    tokens_per_second: 110,
    samples: [100, 300, 110],
    spread: deviation([100, 300, 110]),
    read_ceiling_gb_s: 30,
    share_of_ceiling: (110 * 1e8) / 30e9,
  });
  t.equal(row(test("pp", 8), "lutra", [1]).share_of_ceiling, null);
  const several = { engine: "lutra", threads: 1, samples: [1], ceilings: [10, 40, 20], bytesPerToken: 1 };
  t.equal(benchRow(test("tg", 8), several).read_ceiling_gb_s, 20, "the median of the ceilings");
});

t.test("bytes of a token: a batch shares the weights, each stream reads its own prefix", async (t) => {
  const full = { weights: 1000, screened: 0, kvPerPosition: 12, layers: 6, slidingLayers: 0, window: 0 };
  t.equal(bytesPerToken(full, test("tg", 1)), 1000);
  t.equal(bytesPerToken(full, test("tg", 1, 0, 4)), 250);
  t.equal(bytesPerToken(full, test("tg", 1, 100, 4)), 250 + 1200);
  const screened = { ...full, screened: 300 };
  t.equal(bytesPerToken(screened, test("tg", 1)), 700, "what a screened head may leave out does not count");
  t.equal(bytesPerToken(screened, test("tg", 1, 0, 4)), 175, "a few rows leave out the same");
  t.equal(bytesPerToken(screened, test("tg", 1, 0, 10)), 100, "many rows read all of it");
  const sliding = { ...full, slidingLayers: 5, window: 10 };
  t.equal(bytesPerToken(sliding, test("tg", 1, 100)), 1000 + 2 * (100 + 5 * 10));
  t.equal(bytesPerToken(sliding, test("tg", 1, 8)), 1000 + 12 * 8, "below the window nothing slides");
});

t.test("comparison with an earlier run", async (t) => {
  const base = parseBase(JSON.stringify(rows), "base.json");
  const [first] = rows as [BenchRow];
  t.equal(ratioToBase({ ...first, tokens_per_second: 500 }, base), 0.5);
  for (const change of [{ test: "pp511" }, { depth: 1 }, { batch: 2 }, { threads: 4 }, { engine: "other" }])
    t.equal(ratioToBase({ ...first, ...change }, base), null, JSON.stringify(change));
  t.match(toRatios([first, { ...first, test: "pp1" }], base), /1\.00 × the earlier run\n.*not in the earlier run\n$/);
  const bad: [unknown, RegExp][] = [
    ["{", /--compare base\.json: expected the JSON that .* writes, got "\{"/],
    [{}, /expected an array of rows, got an object/],
    [[1], /row 0: expected an object, got 1/],
    [[{ ...first, test: 5 }], /row 0: test: expected a string, got 5/],
    [[first, { ...first, depth: "0" }], /row 1: depth: expected a whole number, got "0"/],
    [[{ ...first, engine: undefined }], /row 0: engine: expected a string, got undefined/],
    [[{ ...first, tokens_per_second: 0 }], /tokens_per_second: expected a positive number, got 0/],
    [[{ ...first, tokens_per_second: null }], /tokens_per_second: expected a positive number, got null/],
  ];
  for (const [value, message] of bad) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    t.throws(() => parseBase(text, "base.json"), { code: "INVALID_OPTION", message });
  }
  t.same(parseBase("[]", "base.json"), []);
});

t.test("profile", async (t) => {
  const times = [
    { op: "step", calls: 10, ns: 50e6 },
    { op: "attend", calls: 300, ns: 5e6 },
    { op: "head", calls: 10, ns: 40e6 },
    { op: "reduce", calls: 0, ns: 0 },
  ];
  const profile = summarizeProfile(times, { tokens: 20, ms: 110, steps: 20 });
  t.match(profile, { steps: 10, step_us: 5000 });
  t.ok(Math.abs((profile?.js_share ?? 0) - (1 - 5 / 5.5)) < 1e-12, "5 ms of 5.5 ms are native");
  t.same(profile?.operators, [
    { op: "head", calls_per_step: 1, us_per_step: 4000, share: 0.8 },
    { op: "attend", calls_per_step: 30, us_per_step: 500, share: 0.1 },
  ]);
  t.equal(summarizeProfile(times, { tokens: 20, ms: 110, steps: null })?.js_share, null);
  t.equal(summarizeProfile([{ op: "step", calls: 0, ns: 0 }], { tokens: 1, ms: 1, steps: 1 }), null);
  t.equal(summarizeProfile([], { tokens: 1, ms: 1, steps: 1 }), null);
  const [first] = rows as [BenchRow];
  const text = toProfiles([first, { ...first, profile: profile ?? undefined }]);
  t.match(text, /^pp512: 10 steps of 5000 µs in native code, TypeScript 9\.1 % of a step's time\n/);
  t.match(text, /\n\| head \| 1\.0 \| 4000\.0 \| 80\.0 % \|\n\| attend \| 30\.0 \| 500\.0 \| 10\.0 % \|\n$/);
});

t.test("Markdown", async (t) => {
  const alone = toMarkdown(rows.slice(0, 1), "a title");
  t.equal(
    alone,
    "a title\n\n| test | tokens/s | of the ceiling |\n| --- | ---: | ---: |\n| pp512 | 1000.00 ± 100.00 |  |\n",
  );
  const both = toMarkdown(rows, "t").split("\n").slice(2);
  t.same(both.slice(0, 3), [
    "| test | engine | tokens/s | of the ceiling |",
    "| --- | --- | ---: | ---: |",
    "| pp512 | lutra | 1000.00 ± 100.00 |  |",
  ]);
  t.same(both.slice(4), [
    "| pp512 | lutra ÷ node-llama-cpp | 4.00 × |  |",
    "| tg128 b4 @ d4096 | lutra | 155.00 ± 5.00 | 52 % |",
    "| tg128 b4 @ d4096 | node-llama-cpp | 50.00 ± 10.00 | 17 % |",
    "| tg128 b4 @ d4096 | lutra ÷ node-llama-cpp | 3.10 × |  |",
    "",
  ]);
  const base = parseBase(JSON.stringify([{ ...rows[0], tokens_per_second: 800 }]), "b");
  t.match(toMarkdown(rows.slice(0, 1), "t", base), "| pp512 | 1000.00 ± 100.00 |  | 1.25 × |");
});

t.test("CSV", async (t) => {
  const [head, first, ...others] = toCsv([{ ...(rows[2] as BenchRow), engine: 'a "b", c' }]).split("\n");
  t.equal(
    head,
    "test,n_prompt,n_gen,depth,batch,threads,engine,tokens_per_second,samples,spread,read_ceiling_gb_s,share_of_ceiling",
  );
  t.equal(first, `tg128 b4 @ d4096,0,128,4096,4,2,"a ""b"", c",155,150 160 155,5,30,${(155 * 1e8) / 30e9}`);
  t.same(others, [""]);
  const profile = summarizeProfile([{ op: "step", calls: 1, ns: 1 }], { tokens: 1, ms: 1, steps: 1 });
  t.notMatch(toCsv([{ ...(rows[0] as BenchRow), profile: profile ?? undefined }]), "object");
  t.equal(toCsv([]), "");
});

t.test("SVG", async (t) => {
  const svg = await plotRows(rows, { model: "A <b> & c", subtitle: "machine, 2 threads" });
  t.match(svg, /^<svg [^>]*viewBox="0 0 860 \d+">\n<style>@media \(prefers-color-scheme:dark\)/);
  t.match(svg, /<\/svg>\s*$/);
  t.match(svg, "A &lt;b&gt; &amp; c", "text is escaped");
  t.notMatch(svg, "<b>");
  t.notMatch(svg, /NaN|undefined|Infinity/);
  for (const text of ["machine, 2 threads", "pp512", "tg128 b4 @ d4096", "1000.0", "250.0", "155.0", "node-llama-cpp"])
    t.match(svg, text, text);
  // Two engines in two panels, one bar each.
  t.equal(svg.match(/fill="#1b9e83"/g)?.length, 2 + 1, "Lutra's bars and its place in the legend");
  t.equal(svg.match(/fill="#8b98a9"/g)?.length, 2 + 1);
  const alone = await plotRows(rows.slice(0, 1), { model: "m", subtitle: "s" });
  t.notMatch(alone, "Generation");
  t.notMatch(alone, "lutra", "one engine needs no legend");
  t.notMatch(await plotRows([], { model: "m", subtitle: "s" }), /NaN|Infinity/, "no rows, no panels");
});
