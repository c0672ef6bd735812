// Calibrations of activation sparsity: what was written comes back, whatever else stands there is refused with its field, and what
// native code finds in a tiny model is what planning makes of it.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { readSparsity, type SparsityImage, writeSparsity } from "../../dist/esm/calibration/index.js";
import { calibrateSparsity, loadModel } from "../../dist/esm/index.js";
import { calibrationOf } from "../../dist/esm/worker/sparsity/calibrated.js";
import { setEnvironment } from "../support/local-sources.js";
import { slowTinyModel, tinyModel } from "../support/models.js";
import { runCli } from "../support/run-cli.js";

const knots = 65;
const expected = {
  fingerprint: "0123456789abcdef".repeat(4),
  method: { type: "teal", attention: false, norms: "none", masked: [false, false, true, true] },
} as const;

function image(): SparsityImage {
  const quantiles = new Float32Array(2 * 4 * knots);
  for (let at = 0; at < 8; at++)
    if (at % 4 >= 2) for (let knot = 0; knot < knots; knot++) quantiles[at * knots + knot] = (at + 1) * knot * 0.1;
  const bytes = (n: number) => Uint8Array.from({ length: n }, (_, i) => i * 7);
  return {
    ...expected,
    ...{ textSha256: "ab".repeat(32), tokens: 1024, window: 512, quantiles },
    frequencies: [0, 1].flatMap(() => [bytes(0), bytes(0), bytes(32), bytes(64)]),
    allocation: [
      Float32Array.of(0, 1, 1, 1, 1, 0.1, 1, 1, 1, 0.7, 0.2, 1, 1, 0.85, 0.7),
      Float32Array.of(0, 1, 1, 1, 1, 0.1, 1, 1, 0.85, 1, 0.2, 1, 1, 0.85, 0.7),
    ],
  };
}

// biome-ignore lint/suspicious/noExplicitAny: what a file holds is what is tested
type File = Record<string, any>;

async function written(folder: string): Promise<{ path: string; file: File }> {
  const path = join(folder, "deeper", "tiny.json");
  await writeSparsity(path, image());
  return { path, file: JSON.parse(readFileSync(path, "utf8")) as File };
}
/** By somebody who knows the format: the checksum is right again. */
function forged(file: File, edit: (file: File) => void): string {
  const { checksum: _, ...body } = structuredClone(file);
  edit(body);
  return JSON.stringify({ ...body, checksum: createHash("sha256").update(JSON.stringify(body)).digest("hex") });
}

t.test("what was written comes back, and nothing else is left in the folder", async (t) => {
  const folder = t.testdir();
  const { path } = await written(folder);
  t.same(await readSparsity(path, expected), image());
  t.same(readdirSync(join(folder, "deeper")), ["tiny.json"]);
});

const edits: [field: string, edit: (file: File) => void][] = [
  ["kind", (file) => (file.kind = "codebooks")],
  ["version", (file) => (file.version = 2)],
  ["fingerprint", (file) => (file.fingerprint = "zz")],
  ["fingerprint", (file) => (file.fingerprint = "f".repeat(64))],
  ["type", (file) => (file.type = "wina")],
  ["attention", (file) => (file.attention = true)],
  ["norms", (file) => (file.norms = "stacked")],
  ["tokens", (file) => (file.tokens = 0.5)],
  ["window", (file) => (file.window = 1025)],
  ["textSha256", (file) => (file.textSha256 = "ab")],
  ["channels", (file) => file.channels.pop()],
  ["channels[0]", (file) => (file.channels[0] = 32)],
  ["channels[2]", (file) => (file.channels[2] = 0)],
  ["quantiles", (file) => file.quantiles.pop()],
  ["quantiles[1]", (file) => file.quantiles[1].pop()],
  ["quantiles[0][0]", (file) => file.quantiles[0][0].push(0)],
  ["quantiles[1][2]", (file) => file.quantiles[1][2].pop()],
  ["quantiles[1][3][5]", (file) => (file.quantiles[1][3][5] = 0)],
  ["quantiles[1][3][0]", (file) => (file.quantiles[1][3][0] = -1)],
  ["quantiles[1][3][64]", (file) => (file.quantiles[1][3][64] = 1e39)],
  ["quantiles[0][2][1]", (file) => (file.quantiles[0][2][1] = null)],
  ["frequencies", (file) => file.frequencies.push([])],
  ["frequencies[0][3]", (file) => (file.frequencies[0][3] = "AAAA")],
  ["frequencies[0][2]", (file) => (file.frequencies[0][2] = "no base64!")],
  ["allocation", (file) => (file.allocation = [])],
  ["allocation[0]", (file) => (file.allocation[0] = [])],
  ["allocation[1][1]", (file) => file.allocation[1][1].push(1)],
  ["allocation[0][0][0]", (file) => (file.allocation[0][0][0] = 0.05)],
  ["allocation[0][0][4]", (file) => (file.allocation[0][0][4] = 0.9)],
  ["allocation[0][2][0]", (file) => (file.allocation[0][2][0] = 0.1)],
  ["allocation[0][2][0]", (file) => (file.allocation[0][2][0] = file.allocation[0][1][0])],
  ["allocation[0][2][0]", (file) => (file.allocation[0][2][0] = 1.1)],
  ["allocation[0][2][4]", (file) => (file.allocation[0][2][4] = 0.75)],
  ["allocation[1][1][1]", (file) => (file.allocation[1][1][1] = 0.5)],
  ["allocation[1][2][3]", (file) => (file.allocation[1][2][3] = 0)],
];

t.test("each field is checked by itself, and named", async (t) => {
  const { path, file } = await written(t.testdir());
  for (const [field, edit] of edits) {
    writeFileSync(path, forged(file, edit));
    const refusal = { name: "InvalidOptionError", code: "INVALID_OPTION" };
    const thrown = await readSparsity(path, expected).then(
      () => undefined,
      (error: Error) => error,
    );
    t.match(thrown, refusal, `${field} ${edit}`);
    const start = `ffnSparsity.calibration: ${JSON.stringify(path)}: ${field}: expected `;
    t.equal(thrown?.message.slice(0, start.length), start);
  }
  writeFileSync(
    path,
    forged(file, (file) => (file.fingerprint = "f".repeat(64))),
  );
  await t.rejects(readSparsity(path, expected), { message: /belongs to another model file$/ });
});

t.test("damage: turned bytes, a cut end, another thing", async (t) => {
  const { path } = await written(t.testdir());
  const bytes = readFileSync(path);
  const refused = (about: string) =>
    t.rejects(readSparsity(path, expected), { code: "INVALID_OPTION", message: /^ffnSparsity\.calibration: / }, about);
  for (let at = 0; at < bytes.length - 1; at += 13) {
    const turned = Buffer.from(bytes);
    turned[at] = (turned[at] as number) ^ 1;
    writeFileSync(path, turned);
    await refused(`byte ${at}`);
  }
  for (const size of [0, 1, 100, bytes.length >> 1, bytes.length - 3]) {
    writeFileSync(path, bytes);
    truncateSync(path, size);
    await refused(`${size} bytes`);
  }
  for (const text of ["null", "[]", "3", '"a"', "{}"]) {
    writeFileSync(path, text);
    await refused(text);
  }
  truncateSync(path, (64 << 20) + 1);
  await t.rejects(readSparsity(path, expected), { message: /expected at most 67108864 bytes/ });
  await t.rejects(readSparsity(join(path, "..", "none"), expected), { message: /it, or its folder, does not exist/ });
  await t.rejects(readSparsity(join(path, ".."), expected), { message: /expected a regular file, got a folder/ });
});

t.test("planning asks: thresholds between knots, shares between rows", (t) => {
  const { quantiles, allocation } = image();
  const found = calibrationOf({ quantiles, allocation }, 2);
  const near = (is: number | undefined, wanted: number) =>
    t.ok(Math.abs((is ?? NaN) - wanted) < 1e-5, `${is} ${wanted}`);
  near(found.quantiles(1, "ffnMid", 0.5), 8 * 3.2);
  near(found.quantiles(0, "ffnIn", 0.5 + 1 / 256), 3 * 3.225);
  near(found.quantiles(0, "ffnIn", 1), 3 * 6.4);
  const keeps = found.keeps(0.85);
  for (const [at, keep] of [1, 1, 0.925, 0.7, 1, 1, 0.85, 0.85].entries()) near(keeps?.[at], keep);
  t.same([...(found.keeps(1) ?? [])], Array(8).fill(1));
  near(found.keeps(0.8)?.[3], 0.7);
  t.equal(found.keeps(0.7), undefined, "nobody tried to leave out so much");
  t.throws(() => calibrationOf({ quantiles, allocation }, 3), { message: /expected 3 layers, got 2/ });
  t.end();
});

const sizes = { nLayers: 2, dim: 128, nHeads: 4, nKvHeads: 2, headDim: 32, hiddenDim: 256, vocabSize: 512 } as const;
const path = tinyModel({ ...sizes, contextLength: 1024, seed: 7, type: "Q8_0" });
const text = "The mill by the river turns while the miller sleeps. ".repeat(12);
const ids = Array.from({ length: 300 }, (_, i) => 8 + ((Math.imul(i + 1, 2654435761) >>> 16) % 480));

for (const architecture of ["llama", "gemma3"] as const) {
  t.test(`what a calibration says of a model (${architecture})`, async (t) => {
    const model = tinyModel({ ...sizes, nLayers: 6, contextLength: 1024, seed: 7, type: "Q8_0", architecture });
    const before = binding.counters();
    const folder = t.testdir();
    for (const [type, attention, masked] of [
      ["teal", true, [0, 1, 2, 3]],
      ["wina", false, [2, 3]],
      ["cats", undefined, [3]],
    ] as const) {
      const ffnSparsity = { type, ...(attention !== undefined && { attention }) };
      const once = join(folder, `${type}.json`);
      const { tokens } = await calibrateSparsity(model, { ffnSparsity, text, file: once, threads: 2, maxTokens: 256 });
      t.ok(tokens >= 128 && tokens <= 256);
      const again = join(folder, `${type}-again.json`);
      await calibrateSparsity(model, { ffnSparsity, text, file: again, threads: 1, maxTokens: 256 });
      t.ok(readFileSync(again).equals(readFileSync(once)), "the same bytes whatever the threads");
      const file = JSON.parse(readFileSync(once, "utf8")) as File;
      t.match(file, { tokens, window: tokens, type, attention: attention ?? false });
      t.equal(file.quantiles.length, 6);
      for (const [layer, rows] of (file.allocation as number[][][]).entries()) {
        t.ok((rows.at(-1) as number[])[0]! >= 0.9 - 1e-6, "up to nine tenths");
        for (let site = 0; site < 4; site++) {
          const isMasked = (masked as readonly number[]).includes(site);
          const quantiles = file.quantiles[layer][site] as number[];
          t.equal(quantiles.length, isMasked ? 65 : 0);
          if (isMasked)
            t.ok(quantiles.at(-1)! > quantiles[32]! && quantiles[32]! > 0, "half of the scores are smaller");
          const frequencies = Buffer.from(file.frequencies[layer][site], "base64");
          const share = frequencies.reduce((sum, each) => sum + each, 0) / 255 / frequencies.length;
          if (isMasked) t.ok(Math.abs(share - 0.5) < 0.01, "one half is among the best half");
          t.equal((rows.at(-1) as number[])[1 + site]! < 1, isMasked && rows.some((row) => row[1 + site]! < 1));
        }
        if (masked.length === 1) t.ok(rows.every((row) => Math.abs(row[0]! + row[4]! - 1) < 1e-6));
      }
      await using loaded = await loadModel(model, {
        ...{ contextSize: 512, maxSequences: 1, threads: 2 },
        ffnSparsity: { ...ffnSparsity, keep: 0.7, calibration: once },
      });
      t.match(loaded.info.ffnSparsity, { allocation: "calibrated", calibration: once });
      const { sparsity } = await loaded.perplexity(ids, { against: "exact" }).then(({ against }) => against!);
      // Sites that the allocation leaves whole are not counted in what is said of a row.
      const least = attention === true ? 0.6 : 0.68;
      t.ok(sparsity!.kept > least && sparsity!.kept < 0.72, `${type}: ${sparsity!.kept}`);
    }
    const long = { text: text.repeat(4), maxTokens: 1000, file: join(folder, "long.json"), threads: 2 };
    const { tokens } = await calibrateSparsity(model, { ...long, ffnSparsity: { type: "cats" } });
    t.equal(tokens, 512, "whole windows");
    t.same(binding.counters(), before, "nothing stays in memory");
  });
}

t.test("a file for another model, or another method, keeps a model from loading", async (t) => {
  const file = join(t.testdir(), "a.json");
  await calibrateSparsity(path, { ffnSparsity: { type: "teal" }, text, file, threads: 2 });
  const other = tinyModel({ ...sizes, contextLength: 1024, seed: 8, type: "Q8_0" });
  const common = { contextSize: 256, maxSequences: 1 };
  const before = binding.counters();
  const teal = { type: "teal", keep: 0.7, calibration: file } as const;
  for (const [model, ffnSparsity, message] of [
    [other, teal, /^ffnSparsity\.calibration: .*: fingerprint: expected .* belongs to another model file$/],
    [path, { ...teal, attention: true }, /^ffnSparsity\.calibration: .*: attention: expected true, got false$/],
    [path, { ...teal, type: "wina" }, /^ffnSparsity\.calibration: .*: type: expected "wina", got "teal"$/],
    [path, { ...teal, keep: 0.01 }, /^ffnSparsity\.keep: expected a share that was calibrated, got 0\.01$/],
  ] as const)
    await t.rejects(loadModel(model, { ...common, ffnSparsity }), { name: "InvalidOptionError", message });
  t.same(binding.counters(), before);
});

t.test("what is wrong is named", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "is-a-folder"));
  const teal = { type: "teal" };
  for (const [given, message] of [
    [{}, /^ffnSparsity: expected \{/],
    [{ ffnSparsity: { type: "coreinfer" } }, /^ffnSparsity\.type: expected one that ranks/],
    [{ ffnSparsity: { type: "random" } }, /^ffnSparsity\.type: expected one that ranks/],
    [{ ffnSparsity: { type: "teal", keep: 0.5 } }, /^ffnSparsity\.keep is not an option of a calibration/],
    [{ ffnSparsity: { type: "cats", attention: true } }, /^ffnSparsity\.attention is an option of teal, wina/],
    [{ ffnSparsity: teal, maxTokens: 64 }, /^maxTokens: expected an integer in \[128, 65536\], got 64$/],
    [{ ffnSparsity: teal, text: "too short" }, /^text: expected at least 128 tokens to calibrate with, got \d+$/],
    [{ ffnSparsity: teal, text: 3 }, /^text: expected a string/],
    [{ ffnSparsity: teal, file: "" }, /^file: expected a path/],
    [{ ffnSparsity: teal, keep: 1 }, /keep/],
  ] as const)
    await t.rejects(calibrateSparsity(path, given as never), { name: "InvalidOptionError", message });
  const file = join(folder, "is-a-folder");
  await t.rejects(calibrateSparsity(path, { ffnSparsity: { type: "teal" }, text, file }), {
    ...{ name: "OutputFileError", code: "OUTPUT_IO", message: /could not be written: expected a regular file/ },
  });
});

t.test("an abort ends it between trials", async (t) => {
  const before = binding.counters();
  const abort = new AbortController();
  const long = { ffnSparsity: { type: "teal", attention: true }, maxTokens: 65_536 } as const;
  const onLoadProgress = (): void => void setTimeout(() => abort.abort(), 50);
  const text = "the mill turns ".repeat(20_000);
  const given = { ...long, text, onLoadProgress, signal: abort.signal };
  await t.rejects(calibrateSparsity(slowTinyModel(), given), { code: "ABORTED" });
  t.same(binding.counters(), before);
});

t.test("lutra calibrate --ffn-sparsity", async (t) => {
  const folder = t.testdir();
  setEnvironment(t, { LUTRA_CACHE: folder });
  const file = join(folder, "own.json");
  const args = ["calibrate", text, "-m", path, "--ffn-sparsity"];
  const own = await runCli([...args, "teal:attention=true", "-o", file]);
  t.match(own, { code: 0, stdout: /own\.json: from \d+ tokens in \d+\.\d s\n$/ });
  t.match(JSON.parse(readFileSync(file, "utf8")), { type: "teal", attention: true });
  const json = await runCli([...args, "cats", "--json"]);
  const { file: found, tokens } = JSON.parse(json.stdout) as File;
  t.ok(found.startsWith(join(folder, "sparsity", "cats-v1-")), found);
  t.ok(tokens >= 128);
  t.match(await runCli([...args, "teal:0.5"]), {
    code: 2,
    stderr: /ffnSparsity\.keep is not an option of a calibration/,
  });
  t.match(await runCli([...args, "teal", "--d-sub", "2"]), { code: 2, stderr: /of codebooks/ });
});
