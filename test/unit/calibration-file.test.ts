// Codebook files: what was written comes back; whatever else stands there is refused with a code and nothing is believed.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  builtinText,
  type CodebookImage,
  defaultCodebookPath,
  readCodebooks,
  writeCodebooks,
} from "../../dist/esm/calibration/index.js";

const headerBytes = 176;
const digestAt = 144;
const expected = { fingerprint: "0123456789abcdef".repeat(4), parameters: { dSub: 2, outliers: 4 } } as const;
const image: CodebookImage = {
  ...expected,
  training: { spread: true, contextSize: 8192, tokens: 2048, textSha256: new Uint8Array(32).fill(7) },
  codebooks: Uint8Array.from({ length: 500 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 24),
};

/** The file after an edit by somebody who knows the format: the header's checksum is right again. */
function forge(file: Buffer, edit: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(file);
  edit(bytes);
  createHash("sha256").update(bytes.subarray(0, digestAt)).digest().copy(bytes, digestAt);
  return bytes;
}

async function written(folder: string): Promise<{ path: string; bytes: Buffer }> {
  const path = join(folder, "deeper", "model.codebooks");
  await writeCodebooks(path, image);
  return { path, bytes: readFileSync(path) };
}

t.test("what was written comes back, and nothing else is left in the folder", async (t) => {
  const folder = t.testdir();
  const { path, bytes } = await written(folder);
  t.equal(bytes.length, headerBytes + image.codebooks.length);
  t.strictSame(await readCodebooks(path, expected), image);
  await writeCodebooks(path, { ...image, codebooks: Uint8Array.of(1, 2, 3) });
  t.strictSame((await readCodebooks(path, expected)).codebooks, Uint8Array.of(1, 2, 3));
  t.same(readdirSync(join(folder, "deeper")), ["model.codebooks"]);
});

t.test("every byte of the header, turned", async (t) => {
  const { path, bytes } = await written(t.testdir());
  const code = (at: number) => (at < 8 ? "CODEBOOKS_BAD_MAGIC" : at < 12 ? "CODEBOOKS_VERSION" : "CODEBOOKS_CORRUPT");
  for (let at = 0; at < headerBytes; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0x41;
    writeFileSync(path, damaged);
    const error = await readCodebooks(path, expected).then(undefined, (reason: unknown) => reason);
    t.match(error, { name: "CodebookFileError", code: code(at), message: path }, `byte ${at}`);
  }
});

t.test("every length but the right one", async (t) => {
  const { path, bytes } = await written(t.testdir());
  for (let length = 0; length < bytes.length; length += length < headerBytes + 2 ? 1 : 97) {
    writeFileSync(path, bytes.subarray(0, length));
    await t.rejects(readCodebooks(path, expected), { code: "CODEBOOKS_TRUNCATED" }, `${length} bytes`);
  }
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(1)]));
  await t.rejects(readCodebooks(path, expected), {
    code: "CODEBOOKS_CORRUPT",
    message: /expected 676 bytes.* got 677/,
  });
});

t.test("a turned bit of the codebooks", async (t) => {
  const { path, bytes } = await written(t.testdir());
  for (const at of [headerBytes, headerBytes + 250, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    writeFileSync(path, damaged);
    await t.rejects(readCodebooks(path, expected), { code: "CODEBOOKS_CORRUPT", message: /codebooks: wrong checksum/ });
  }
});

t.test("another model's, or other parameters'", async (t) => {
  const { path, bytes } = await written(t.testdir());
  const cases: [object, RegExp][] = [
    [{ ...expected, fingerprint: "f".repeat(64) }, /fingerprint: expected "ffff.*belong to another model file/],
    [{ ...expected, parameters: { dSub: 4, outliers: 4 } }, /dSub: expected 4, got 2/],
    [{ ...expected, parameters: { dSub: 2, outliers: 0 } }, /outliers: expected 0, got 4/],
  ];
  for (const [other, message] of cases)
    await t.rejects(readCodebooks(path, other as typeof expected), { code: "CODEBOOKS_MISMATCH", message });
  writeFileSync(
    path,
    forge(bytes, (file) => void file.write("pqcache", 56, "latin1")),
  );
  await t.rejects(readCodebooks(path, expected), {
    code: "CODEBOOKS_MISMATCH",
    message: /kind: expected "nomad", got "pqcache"/,
  });
});

t.test("claims of a header with a right checksum", async (t) => {
  const { path, bytes } = await written(t.testdir());
  const cases: [string, (file: Buffer) => void, string][] = [
    ["version", (file) => void file.writeUInt32LE(2, 8), "CODEBOOKS_VERSION"],
    ["a size beyond everything", (file) => void file.writeBigUInt64LE(2n ** 63n, 16), "CODEBOOKS_TRUNCATED"],
    ["a smaller size", (file) => void file.writeBigUInt64LE(200n, 16), "CODEBOOKS_CORRUPT"],
    ["spread", (file) => void file.writeUInt32LE(2, 68), "CODEBOOKS_CORRUPT"],
  ];
  for (const [name, edit, code] of cases) {
    writeFileSync(path, forge(bytes, edit));
    await t.rejects(readCodebooks(path, expected), { code }, name);
  }
  // Sparse: it takes no room on the disk, and must take none in memory.
  const huge = 2 ** 40;
  writeFileSync(
    path,
    forge(bytes, (file) => void file.writeBigUInt64LE(BigInt(huge), 16)),
  );
  truncateSync(path, huge);
  await t.rejects(readCodebooks(path, expected), { code: "CODEBOOKS_CORRUPT", message: /at most/ });
});

t.test("what is no file", async (t) => {
  const folder = t.testdir({ folder: {}, file: "x" });
  await t.rejects(readCodebooks(join(folder, "absent"), expected), { code: "CODEBOOKS_NOT_FOUND" });
  await t.rejects(readCodebooks(join(folder, "file", "below"), expected), { code: "CODEBOOKS_NOT_FOUND" });
  await t.rejects(readCodebooks(join(folder, "folder"), expected), { code: "CODEBOOKS_IO", message: /folder/ });
  await t.rejects(writeCodebooks(join(folder, "folder"), image), { code: "CODEBOOKS_IO", message: /a folder/ });
  await t.rejects(writeCodebooks(join(folder, "file", "below"), image), { name: "CodebookFileError" });
  symlinkSync(join(folder, "file"), join(folder, "link"));
  await t.rejects(writeCodebooks(join(folder, "link"), image), { code: "CODEBOOKS_IO", message: /a symbolic link/ });
  t.equal(readFileSync(join(folder, "file"), "utf8"), "x");
});

t.test("processes that write at once leave one whole file", async (t) => {
  const path = join(t.testdir(), "a.codebooks");
  const images = Array.from({ length: 8 }, (_, i) => ({ ...image, codebooks: new Uint8Array(9000).fill(i) }));
  await Promise.all(images.map((each) => writeCodebooks(path, each)));
  const { codebooks } = await readCodebooks(path, expected);
  t.ok(codebooks.every((byte) => byte === codebooks[0]));
  t.equal(readdirSync(join(path, "..")).length, 1);
});

t.test("the default place is in the cache folder, by model file, version and parameters", (t) => {
  const cache = t.testdir();
  const before = process.env.LUTRA_CACHE;
  process.env.LUTRA_CACHE = cache;
  t.teardown(() => {
    if (before === undefined) delete process.env.LUTRA_CACHE;
    else process.env.LUTRA_CACHE = before;
  });
  const path = defaultCodebookPath(expected);
  t.equal(path, join(cache, "codebooks", `nomad-v1-${expected.fingerprint.slice(0, 32)}-d2-o4.codebooks`));
  t.end();
});

t.test("the built-in text", (t) => {
  t.ok(builtinText.length > 10_000, "2,048 tokens of any vocabulary");
  t.notMatch(builtinText, /\t|\r|\uFFFD/);
  t.end();
});
