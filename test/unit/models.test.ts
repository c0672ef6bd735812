/** Names, URIs, the cache and pulls from a Hugging Face endpoint, against a server on this machine. */
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { builtinModels, defaultModelName, listModels, removeModel, resolveModel } from "../../dist/esm/models/index.js";
import { matchQuantTag, parseHubUri, splitParts } from "../../dist/esm/models/uri.js";
import {
  filesUnder,
  type HubFile,
  isolatedEnvironment,
  patternBytes,
  setEnvironment,
  startHub,
  tinyBuiltin,
} from "../support/local-sources.js";

const bytes = patternBytes(300_000);
const builtin = tinyBuiltin(bytes);
const registry = [builtin];
const hubKey = "someone/tiny-gguf/tiny.gguf";

type Test = { testdir(content: Record<string, never>): string; teardown(f: () => void): unknown };

async function setUp(t: Test, file: HubFile | undefined, more: Record<string, HubFile> = {}) {
  const cache = t.testdir({});
  const files: Record<string, HubFile> = { ...more };
  if (file) files[hubKey] = file;
  const hub = await startHub(files);
  t.teardown(() => hub.close());
  setEnvironment(t, isolatedEnvironment(cache, { HF_ENDPOINT: hub.url }));
  return { cache, hub, files, path: join(cache, "tiny.gguf") };
}

t.test("the registry holds the published facts", async (t) => {
  t.equal(defaultModelName, "smollm2-135m-instruct");
  t.same(
    builtinModels.map(({ name, fileName, sizeBytes }) => [name, fileName, sizeBytes]),
    [
      ["smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432],
      ["gemma-3-270m", "gemma-3-270m-q4_k_m.gguf", 253_113_024],
    ],
  );
  for (const { sha256 } of builtinModels) t.match(sha256, /^[0-9a-f]{64}$/);
});

t.test("URIs that could leave the cache folder are refused", async (t) => {
  t.same(parseHubUri("hf:user/repo:file.gguf"), { repo: "user/repo", file: "file.gguf" });
  t.same(parseHubUri("hf:user/repo:sub/file.gguf"), { repo: "user/repo", file: "sub/file.gguf" });
  t.same(parseHubUri("hf:user/repo:Q4_K_M"), { repo: "user/repo", tag: "Q4_K_M" });
  for (const bad of [
    "hf:user/repo:../x.gguf",
    "hf:../repo:x.gguf",
    "hf:user/..:x.gguf",
    "hf:user/repo:/etc/x.gguf",
    "hf:user/repo:a/../../x.gguf",
    "hf:user/repo:a\\..\\x.gguf",
    "hf:user/repo:a//x.gguf",
    "hf:user/repo:.hidden.gguf",
    "hf:user/repo:x\0.gguf",
    "hf:user/repo:.*",
    "hf:user/repo",
    "hf:user",
    `hf:user/repo:${"a".repeat(600)}.gguf`,
  ]) {
    t.throws(() => parseHubUri(bad), { code: "INVALID_OPTION" }, bad);
  }
});

t.test("a quantisation names exactly one file", async (t) => {
  const files = [
    "m-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "mmproj-Q4_K_M.gguf",
    "big-Q8_0-00001-of-00002.gguf",
    "big-Q8_0-00002-of-00002.gguf",
  ];
  t.equal(matchQuantTag(files, "q4_k_m"), "m-Q4_K_M.gguf");
  t.equal(matchQuantTag(files, "Q8_0"), "big-Q8_0-00001-of-00002.gguf");
  t.throws(() => matchQuantTag(files, "Q4_K"), /no .gguf file matches/);
  t.throws(() => matchQuantTag([...files, "n-Q4_K_M.gguf"], "Q4_K_M"), /2 files match/);
  t.same(splitParts("a-00002-of-00003.gguf"), [
    "a-00001-of-00003.gguf",
    "a-00002-of-00003.gguf",
    "a-00003-of-00003.gguf",
  ]);
  t.same(splitParts("a.gguf"), []);
});

t.test("names that are nothing", async (t) => {
  const { cache } = await setUp(t, undefined);
  await t.rejects(resolveModel("nosuch", { registry }), { code: "MODEL_NOT_FOUND", message: /built-in names: tiny/ });
  await t.rejects(resolveModel("./nosuch.gguf", { registry }), { code: "MODEL_NOT_FOUND", message: /no such file/ });
  await t.rejects(resolveModel("", { registry }), { code: "INVALID_OPTION" });
  writeFileSync(join(cache, "here.gguf"), "x");
  t.equal(await resolveModel(join(cache, "here.gguf")), join(cache, "here.gguf"));
});

t.test("a pull from the hub, and the cache after it", async (t) => {
  const { cache, hub, path } = await setUp(t, { bytes });
  const progress: number[] = [];
  const onPullProgress = (each: { receivedBytes: number }) => progress.push(each.receivedBytes);
  t.equal(await resolveModel("tiny", { registry, onPullProgress }), path);
  t.ok(readFileSync(path).equals(bytes));
  t.equal(progress.at(-1), bytes.length);
  t.same(
    progress,
    [...progress].sort((a, b) => a - b),
  );
  t.same(filesUnder(cache), ["tiny.gguf", "tiny.gguf.json"]);
  const { requests } = hub;
  t.equal(await resolveModel("tiny", { registry }), path);
  t.equal(hub.requests, requests, "a cached model needs no network");
  t.same(await listModels(registry), [{ name: "tiny", path, size_bytes: bytes.length, sha256: builtin.sha256 }]);
  t.same(await removeModel("tiny", registry), [path]);
  t.same(filesUnder(cache), []);
  await t.rejects(removeModel("tiny", registry), { code: "MODEL_NOT_FOUND" });
});

t.test("a cached file that changed is not trusted", async (t) => {
  const { path } = await setUp(t, { bytes });
  await resolveModel("tiny", { registry });
  const damaged = Buffer.from(bytes);
  damaged[1000]! ^= 1;
  writeFileSync(path, damaged);
  utimesSync(path, new Date(), new Date(Date.now() + 5000));
  await t.rejects(resolveModel("tiny", { registry, offline: true }), {
    code: "PULL_FAILED",
    message: /wrong checksum/,
  });
  t.same(await listModels(registry), []);
  await resolveModel("tiny", { registry });
  t.ok(readFileSync(path).equals(bytes), "it is fetched again");
});

t.test("a file put into the cache by hand is verified once", async (t) => {
  const { cache, hub, path } = await setUp(t, undefined);
  writeFileSync(path, bytes);
  t.equal(await resolveModel("tiny", { registry, offline: true }), path);
  t.equal(hub.requests, 0);
  t.same(filesUnder(cache), ["tiny.gguf", "tiny.gguf.json"]);
});

t.test("a wrong checksum is refused, before the download where the hub says it", async (t) => {
  const { cache, hub, files } = await setUp(t, { bytes: patternBytes(bytes.length, 2) });
  await t.rejects(resolveModel("tiny", { registry }), {
    code: "PULL_FAILED",
    message: /wrong checksum: expected sha256 /,
  });
  t.equal(hub.downloads.length, 0);
  files[hubKey] = { bytes: patternBytes(bytes.length, 2), etag: "no-checksum" };
  await t.rejects(resolveModel("tiny", { registry }), {
    code: "PULL_FAILED",
    message: /wrong checksum: .*refused and removed/,
  });
  t.equal(hub.downloads.length, 1);
  files[hubKey] = { bytes: bytes.subarray(1) };
  await t.rejects(resolveModel("tiny", { registry }), { code: "PULL_FAILED", message: /wrong size/ });
  t.same(filesUnder(cache), [], "nothing is left behind");
});

t.test("a broken connection is resumed where it broke", async (t) => {
  const { cache, hub, path } = await setUp(t, { bytes, cuts: [100_000, 50_000] });
  await resolveModel("tiny", { registry });
  t.ok(readFileSync(path).equals(bytes));
  t.equal(hub.downloads.length, 3);
  t.equal(hub.downloads[0], "bytes=0-");
  for (const range of hub.downloads.slice(1)) t.not(range, "bytes=0-");
  t.same(filesUnder(cache), ["tiny.gguf", "tiny.gguf.json"]);
});

t.test("a later pull goes on from what an earlier one got", async (t) => {
  const { cache, hub, files, path } = await setUp(t, { bytes, cuts: [100_000, 0, 0, 0] });
  await t.rejects(resolveModel("tiny", { registry }), { code: "PULL_FAILED", message: /Hugging Face/ });
  t.same(
    filesUnder(cache).filter((name) => !name.endsWith(".part")),
    [],
    "nothing under the final name",
  );
  const [part] = filesUnder(cache);
  const kept = statSync(join(cache, part as string)).size;
  t.ok(kept > 0);
  files[hubKey] = { bytes };
  hub.downloads.length = 0;
  await resolveModel("tiny", { registry });
  t.same(hub.downloads, [`bytes=${kept}-`]);
  t.ok(readFileSync(path).equals(bytes));
  t.same(filesUnder(cache), ["tiny.gguf", "tiny.gguf.json"]);
});

t.test("a part of another file is thrown away", async (t) => {
  const { cache, hub, path } = await setUp(t, { bytes });
  writeFileSync(join(cache, "tiny.gguf.free-0-00000000.part"), patternBytes(1000, 9));
  await resolveModel("tiny", { registry });
  t.same(hub.downloads, ["bytes=1000-", "bytes=0-"]);
  t.ok(readFileSync(path).equals(bytes));
});

t.test("a server that ignores ranges", async (t) => {
  const { path } = await setUp(t, { bytes, cuts: [100_000], ignoreRange: true });
  await resolveModel("tiny", { registry });
  t.ok(readFileSync(path).equals(bytes));
});

t.test("an abort stops a pull and leaves nothing under the final name", async (t) => {
  const { cache } = await setUp(t, { bytes, slowMs: 10 });
  const controller = new AbortController();
  const pulling = resolveModel("tiny", {
    registry,
    signal: controller.signal,
    onPullProgress: () => controller.abort(),
  });
  await t.rejects(pulling, { code: "ABORTED" });
  t.notOk(filesUnder(cache).includes("tiny.gguf"));
  await t.rejects(resolveModel("tiny", { registry, signal: controller.signal }), { code: "ABORTED" });
});

t.test("offline uses the cache only", async (t) => {
  const { hub } = await setUp(t, { bytes });
  await t.rejects(resolveModel("tiny", { registry, offline: true }), {
    code: "PULL_FAILED",
    message: /offline.*not there/,
  });
  await t.rejects(resolveModel("hf:someone/tiny-gguf:Q4_0", { offline: true }), { code: "PULL_FAILED" });
  t.equal(hub.requests, 0);
});

t.test("hf: URIs, by file, by quantisation and in parts", async (t) => {
  const { cache, hub } = await setUp(t, undefined, {
    "someone/more/m.Q4_0.gguf": { bytes },
    "someone/more/m.Q8_0.gguf": { bytes: patternBytes(5000, 3) },
    "someone/more/s-00001-of-00002.gguf": { bytes: patternBytes(100, 4) },
    "someone/more/s-00002-of-00002.gguf": { bytes: patternBytes(100, 5) },
  });
  const folder = join(cache, "hf", "someone", "more");
  t.equal(await resolveModel("hf:someone/more:Q4_0"), join(folder, "m.Q4_0.gguf"));
  const { requests } = hub;
  t.equal(await resolveModel("hf:someone/more:Q4_0", { offline: true }), join(folder, "m.Q4_0.gguf"));
  t.equal(hub.requests, requests);
  t.equal(await resolveModel("hf:someone/more:m.Q8_0.gguf"), join(folder, "m.Q8_0.gguf"));
  t.equal(await resolveModel("hf:someone/more:s-00001-of-00002.gguf"), join(folder, "s-00001-of-00002.gguf"));
  t.ok(filesUnder(folder).includes("s-00002-of-00002.gguf"));
  await t.rejects(resolveModel("hf:someone/more:Q2_K"), { code: "PULL_FAILED", message: /no .gguf file matches Q2_K/ });
  await t.rejects(resolveModel("hf:someone/more:nosuch.gguf"), { code: "PULL_FAILED", message: /has no file/ });
  const names = (await listModels([])).map(({ name }) => name);
  t.ok(names.includes("hf:someone/more:m.Q4_0.gguf"));
  await removeModel("hf:someone/more:s-00001-of-00002.gguf");
  t.same(filesUnder(folder), ["m.Q4_0.gguf", "m.Q4_0.gguf.json", "m.Q8_0.gguf", "m.Q8_0.gguf.json"]);
});
