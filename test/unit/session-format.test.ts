// Session files, class K1: what was written is read back; every flipped bit, cut, foreign identity and false claim is a
// typed error, and nothing is allocated for a claim.
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readSession, type SessionIdentity, writeSession } from "../../dist/esm/session/index.js";
import { at, forge, headerBytes, identity, sessionImage } from "../support/session-images.js";

const contextSize = 4096;
const expected = { identity, contextSize };
const image = sessionImage(1, 101, 100);

async function fileOf(t: Test): Promise<{ path: string; bytes: Buffer }> {
  const path = join(t.testdir({}), "a.session");
  await writeSession(path, image);
  return { path, bytes: readFileSync(path) };
}

/** The code that reading gives, or "OK". Anything but an error of Lutra fails the test. */
async function codeOf(path: string, wanted = expected): Promise<string> {
  try {
    await readSession(path, wanted);
    return "OK";
  } catch (thrown) {
    const { name, code, message } = thrown as { name: string; code: string; message: string };
    const known = name === "SessionFileError" || name === "ContextOverflowError";
    return known && message !== "" ? code : `${name} ${message}`;
  }
}

t.test("what was written is read back", async (t) => {
  const path = join(t.testdir({}), "a.session");
  for (const [tokens, computed] of [
    [0, 0],
    [1, 0],
    [1, 1],
    [32, 32],
    [33, 32],
    [65, 33],
    [4097, 4096],
  ] as const) {
    const written = sessionImage(tokens, tokens, computed);
    await writeSession(path, written);
    const read = await readSession(path, expected);
    t.same(read.tokens, written.tokens);
    t.ok(Buffer.from(read.pages).equals(written.pages), `${tokens} tokens, ${computed} computed`);
    t.match(read, { identity, computed });
  }
  t.equal(statSync(path).mode & 0o777, 0o600, "nobody else reads a conversation");
});

t.test("the bytes are those the format names", async (t) => {
  const { bytes } = await fileOf(t);
  t.equal(bytes.length, headerBytes + 4 * 101 + 4 * identity.pageBytes);
  t.equal(bytes.toString("latin1", 0, 8), "\x89LUTSES\n");
  t.equal(bytes.readUInt32LE(at.version), 1);
  t.equal(Number(bytes.readBigUInt64LE(at.fileSize)), bytes.length);
  t.equal(bytes.toString("hex", at.fingerprint, at.kvCacheType), identity.fingerprint);
  t.equal(bytes.toString("latin1", at.kvCacheType, at.pageBytes), "f16\0\0\0\0\0");
  for (const field of ["pageBytes", "pagePositions", "nLayers", "nKvHeads", "headDim", "vocabSize"] as const)
    t.equal(Number(bytes.readBigUInt64LE(at[field])), identity[field], field);
  t.equal(bytes.readInt32LE(headerBytes + 4), image.tokens[1]);
  t.ok(bytes.subarray(headerBytes + 404).equals(Buffer.from(image.pages)));
});

t.test("every bit of the header, flipped", async (t) => {
  const { path, bytes } = await fileOf(t);
  const codes = new Map<string, number>();
  for (let bit = 0; bit < headerBytes * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    writeFileSync(path, flipped);
    const code = await codeOf(path);
    if (!code.startsWith("SESSION_")) t.fail(`byte ${bit >> 3}, bit ${bit & 7}: ${code}`);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  t.match(Object.fromEntries(codes), { SESSION_BAD_MAGIC: 64, SESSION_VERSION: 32 });
  t.equal(codes.get("SESSION_CORRUPT"), headerBytes * 8 - 96);
});

t.test("bits of the tokens and pages, flipped", async (t) => {
  const { path, bytes } = await fileOf(t);
  for (let i = 0; i < 1500; i++) {
    const place = headerBytes + (i < 404 ? i : Math.floor(Math.random() * (bytes.length - headerBytes)));
    const flipped = Buffer.from(bytes);
    flipped[place]! ^= 1 << Math.floor(Math.random() * 8);
    writeFileSync(path, flipped);
    const code = await codeOf(path);
    if (code !== "SESSION_CORRUPT") t.fail(`byte ${place}: ${code}`);
  }
  t.end();
});

t.test("cut at any length, or longer than it says", async (t) => {
  const { path, bytes } = await fileOf(t);
  for (let length = 0; length < bytes.length; length += length < 700 ? 1 : 13) {
    writeFileSync(path, bytes.subarray(0, length));
    const code = await codeOf(path);
    if (code !== "SESSION_TRUNCATED") t.fail(`${length} bytes: ${code}`);
  }
  for (const more of [1, 4, 1000]) {
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(more)]));
    t.equal(await codeOf(path), "SESSION_CORRUPT", `${more} bytes more`);
  }
  writeFileSync(path, "GGUF and something else, which is longer than a header".repeat(8));
  t.equal(await codeOf(path), "SESSION_BAD_MAGIC");
});

t.test("another model, K/V type or geometry: the field is named", async (t) => {
  const { path } = await fileOf(t);
  const others: Partial<SessionIdentity> = {
    fingerprint: `1${identity.fingerprint.slice(1)}`,
    kvCacheType: "q8_0",
    pageBytes: 384,
    pagePositions: 64,
    nLayers: 4,
    nKvHeads: 1,
    headDim: 2,
    vocabSize: 1001,
  };
  for (const [field, value] of Object.entries(others)) {
    const wanted = { identity: { ...identity, [field]: value }, contextSize };
    await t.rejects(readSession(path, wanted), {
      name: "SessionFileError",
      code: "SESSION_MISMATCH",
      message: new RegExp(`^${field}: expected .*${value}.*, got`),
    });
  }
});

t.test("another version and byte order, whatever their checksums", async (t) => {
  const { path, bytes } = await fileOf(t);
  const cases: [string, string, (bytes: Buffer) => void][] = [
    ["a future version", "SESSION_VERSION", (b) => b.writeUInt32LE(2, at.version)],
    ["version 0", "SESSION_VERSION", (b) => b.writeUInt32LE(0, at.version)],
    ["the last version", "SESSION_VERSION", (b) => b.writeUInt32LE(0xffffffff, at.version)],
    ["the other byte order", "SESSION_ENDIANNESS", (b) => b.writeUInt32BE(0x01020304, at.byteOrder)],
    ["no byte order", "SESSION_CORRUPT", (b) => b.writeUInt32BE(0, at.byteOrder)],
  ];
  for (const [name, code, edit] of cases) {
    writeFileSync(path, forge(bytes, edit));
    t.equal(await codeOf(path), code, name);
  }
  writeFileSync(
    path,
    forge(bytes, () => {}),
  );
  t.equal(await codeOf(path), "OK", "the forger's checksum is right");
});

t.test("claims with a right checksum are not believed", async (t) => {
  const { path, bytes } = await fileOf(t);
  const u64 = (offset: number, value: bigint) => (b: Buffer) => void b.writeBigUInt64LE(value, offset);
  const both = (tokens: bigint, computed: bigint) => (b: Buffer) => {
    u64(at.tokens, tokens)(b);
    u64(at.computed, computed)(b);
  };
  const cases: [string, string, (bytes: Buffer) => void][] = [
    ["2^60 tokens", "SESSION_CORRUPT", u64(at.tokens, 2n ** 60n)],
    ["2^52 tokens", "CONTEXT_OVERFLOW", u64(at.tokens, 2n ** 52n)],
    ["2^64 - 1 positions", "SESSION_CORRUPT", u64(at.computed, 2n ** 64n - 1n)],
    ["2^40 positions", "SESSION_CORRUPT", u64(at.computed, 2n ** 40n)],
    ["tokens and positions past the context", "CONTEXT_OVERFLOW", both(4097n, 4097n)],
    ["pages of 2^60 bytes", "SESSION_CORRUPT", u64(at.pageBytes, 2n ** 60n)],
    ["pages of 2^50 bytes", "SESSION_MISMATCH", u64(at.pageBytes, 2n ** 50n)],
    ["pages of no positions", "SESSION_MISMATCH", u64(at.pagePositions, 0n)],
    ["more computed than there are tokens", "SESSION_CORRUPT", u64(at.computed, 102n)],
    ["fewer tokens", "SESSION_CORRUPT", u64(at.tokens, 100n)],
    ["a page less", "SESSION_CORRUPT", u64(at.computed, 96n)],
    ["another size", "SESSION_CORRUPT", u64(at.fileSize, 2n ** 53n - 1n)],
    ["size 0", "SESSION_CORRUPT", u64(at.fileSize, 0n)],
  ];
  const before = process.memoryUsage().arrayBuffers;
  for (const [name, code, edit] of cases) {
    writeFileSync(path, forge(bytes, edit));
    t.equal(await codeOf(path), code, name);
  }
  t.ok(process.memoryUsage().arrayBuffers - before < 1 << 22, "nothing was allocated for them");
  const wrongToken = Buffer.from(bytes);
  for (const token of [-1, 1000, 0x7fffffff]) {
    const { createHash } = await import("node:crypto");
    wrongToken.writeInt32LE(token, headerBytes + 40);
    const sha256 = createHash("sha256")
      .update(wrongToken.subarray(headerBytes, headerBytes + 404))
      .digest();
    writeFileSync(
      path,
      forge(wrongToken, (b) => sha256.copy(b, at.tokensSha256)),
    );
    await t.rejects(readSession(path, expected), { code: "SESSION_CORRUPT", message: /^tokens\[10\]: / });
  }
});

t.test("a file of a terabyte of nothing", async (t) => {
  const { path, bytes } = await fileOf(t);
  const size = 2 ** 40;
  const huge = forge(bytes, (b) => b.writeBigUInt64LE(BigInt(size), at.fileSize));
  writeFileSync(path, huge);
  const file = openSync(path, "r+");
  try {
    ftruncateSync(file, size);
  } catch {
    return t.comment("skipped: the file system holds no sparse files");
  } finally {
    closeSync(file);
  }
  const begin = performance.now();
  t.equal(await codeOf(path), "SESSION_CORRUPT");
  t.ok(performance.now() - begin < 1000, "at once");
});

t.test("parts of two files do not make one", async (t) => {
  const { path, bytes } = await fileOf(t);
  await writeSession(path, sessionImage(2, 101, 100));
  const other = readFileSync(path);
  const pagesAt = headerBytes + 404;
  const mixes = {
    "tokens of the other": Buffer.concat([
      bytes.subarray(0, headerBytes),
      other.subarray(headerBytes, pagesAt),
      bytes.subarray(pagesAt),
    ]),
    "pages of the other": Buffer.concat([bytes.subarray(0, pagesAt), other.subarray(pagesAt)]),
    "header of the other": Buffer.concat([other.subarray(0, headerBytes), bytes.subarray(headerBytes)]),
  };
  for (const [name, mix] of Object.entries(mixes)) {
    writeFileSync(path, mix);
    t.equal(await codeOf(path), "SESSION_CORRUPT", name);
  }
});

t.test("random headers with a right checksum: an error, or the session itself", async (t) => {
  const { path, bytes } = await fileOf(t);
  const codes = new Set<string>();
  for (let i = 0; i < 3000; i++) {
    const field = Object.values(at)[Math.floor(Math.random() * 15)] as number;
    writeFileSync(
      path,
      forge(bytes, (b) => {
        const width = 1 + Math.floor(Math.random() * 8);
        for (let j = 0; j < width; j++) b[field + j] = Math.random() < 0.4 ? 0 : Math.floor(Math.random() * 256);
      }),
    );
    const code = await codeOf(path);
    if (!/^(OK|SESSION_[A-Z_]+|CONTEXT_OVERFLOW)$/.test(code)) t.fail(code);
    codes.add(code);
  }
  t.comment([...codes].join(" "));
  t.ok(codes.has("SESSION_MISMATCH") && codes.has("SESSION_CORRUPT"));
});

/** CPU time of the main thread where the system tells it, so that a busy machine does not count; else the clock. */
function threadMs(): number {
  const file = `/proc/self/task/${process.pid}/schedstat`;
  return existsSync(file) ? Number(readFileSync(file, "utf8").split(" ")[0]) / 1e6 : performance.now();
}

t.test("the event loop goes on while a large file is written and read", async (t) => {
  const path = join(t.testdir({}), "large.session");
  const pageBytes = 2 << 20;
  const large = { identity: { ...identity, pageBytes }, tokens: new Int32Array(2048), computed: 2048 };
  const pages = new Uint8Array(64 * pageBytes).fill(7);
  let longest = 0;
  let last = threadMs();
  const timer = setInterval(() => {
    const now = threadMs();
    longest = Math.max(longest, now - last);
    last = now;
  }, 1);
  await writeSession(path, { ...large, pages });
  const read = await readSession(path, { identity: large.identity, contextSize });
  clearInterval(timer);
  t.equal(read.pages.length, pages.length);
  // 128 MiB hashed in one go take 60 ms and more; a collection of the large heap that tap leaves takes up to 20.
  t.ok(longest < 40, `${longest.toFixed(1)} ms of work without a turn`);
});
