// Class K2: a save whose disk fails, fills up or refuses, at every single call. There is the old file or the new one, the
// error says why, and no partial file is left; a process killed at that call leaves no mix either.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import t from "tap";
import { writeSession } from "../../dist/esm/session/index.js";
import { compileChild } from "../support/compile-child.js";
import { identity, imageIn, plainNode, run, shape, sizes } from "../support/session-saves.js";

const folder = t.testdir({ saves: {}, program: {} });
const saves = join(folder, "saves");
const file = join(saves, "a.session");
const child = compileChild("session-child.ts", join(folder, "program"));
const command = [...plainNode, child, file, "once", shape];

async function writeOld(): Promise<void> {
  const computed = sizes[1];
  const pages = new Uint8Array((computed / identity.pagePositions) * identity.pageBytes).fill(1);
  await writeSession(file, { identity, tokens: new Int32Array(computed).fill(1), computed, pages });
}

interface Outcome {
  code: string;
  name?: string;
  message?: string;
}

function preload(): string | null {
  if (process.platform !== "linux") return null;
  const library = join(folder, "program", "failing-calls.so");
  const source = join(import.meta.dirname, "../support/failing-calls.c");
  try {
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], { stdio: "ignore" });
    return library;
  } catch {
    return null;
  }
}

const library = preload();
const skip = library === null && "needs Linux and a C compiler";
const save = (env: Record<string, string>) =>
  run("env", command.slice(1), { env: { ...process.env, LD_PRELOAD: library ?? "", ...env } });

t.test("every call fails once", { skip }, async (t) => {
  for (const [name, says] of [
    ["EIO", "the disk failed"],
    ["ENOSPC", "no space is left"],
  ] as const) {
    await writeOld();
    const places: string[] = [];
    for (let call = 1; ; call++) {
      const { stdout } = await save({ LUTRA_FAIL_AT: `${call}`, LUTRA_FAIL_ERRNO: `${constants.errno[name]}` });
      const outcome = JSON.parse(stdout) as Outcome;
      if (outcome.code === "OK") break;
      t.match(
        outcome,
        { name: "SessionFileError", code: "SESSION_IO", message: new RegExp(says) },
        `${name}, call ${call}`,
      );
      t.same(readdirSync(saves), ["a.session"], "nothing else is left");
      places.push(String(await imageIn(file)));
      if (places.at(-1) === "2") await writeOld();
    }
    // Opened, tokens, pages in two or more chunks, header, synced, renamed; the folder's sync comes after the rename.
    t.match(places.join(""), /^1{7,}2$/, "old until the rename, new after it");
    t.equal(await imageIn(file), 2);
  }
});

t.test("killed at every call", { skip }, async (t) => {
  await writeOld();
  let places = "";
  for (let call = 1; ; call++) {
    const { stdout } = await save({ LUTRA_FAIL_AT: `${call}`, LUTRA_FAIL_ERRNO: "kill" });
    if (stdout !== "") break;
    places += await imageIn(file);
    if (places.endsWith("2")) await writeOld();
  }
  t.match(places, /^1{7,}2$/);
  t.same(readdirSync(saves), ["a.session"], "the last save removed what the killed ones left");
});

t.test("writes that take less than they were given", { skip }, async (t) => {
  await writeOld();
  const { stdout } = await save({ LUTRA_SHORT_WRITES: "99991" });
  t.match(JSON.parse(stdout), { code: "OK" });
  t.equal(await imageIn(file), 2);
});

t.test("past the limit of a file's size", { skip: process.platform === "win32" }, async (t) => {
  await writeOld();
  const { stdout } = await run("sh", ["-c", 'ulimit -f 1000; exec "$0" "$@"', ...command]);
  t.match(JSON.parse(stdout), { name: "SessionFileError", code: "SESSION_IO", message: /larger than allowed/ });
  t.same(readdirSync(saves), ["a.session"]);
  t.equal(await imageIn(file), 1);
});

for (const [name, mount, says] of [
  ["a full disk", "mount -t tmpfs -o size=1m tmpfs", /no space is left/],
  ["a read-only disk", "mount -t tmpfs -o ro tmpfs", /read-only/],
] as const) {
  t.test(name, async (t) => {
    // In a mount namespace of its own, so that nothing stays mounted.
    const script = `${mount} "$0" || exit 9; "$@"; ls -A "$0"`;
    const { code, stdout } = await run("unshare", ["-m", "sh", "-c", script, saves, ...command]);
    if (code !== 0) return t.comment("skipped: a file system cannot be mounted here");
    t.match(JSON.parse(stdout), { name: "SessionFileError", code: "SESSION_IO", message: says });
  });
}
