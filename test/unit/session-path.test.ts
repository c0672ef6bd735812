// Where session files may lie, class K3: regular files only, under any name the system takes.
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readSession, writeSession } from "../../dist/esm/session/index.js";
import { identity, sessionImage } from "../support/session-images.js";

const image = sessionImage(1, 40);
const read = (path: string) => readSession(path, { identity, contextSize: 64 });

t.test("no path at all", async (t) => {
  for (const path of [undefined, null, 7, "", {}, Buffer.from("x")]) {
    await t.rejects(writeSession(path as string, image), { code: "INVALID_OPTION", message: /^file: expected a path/ });
    await t.rejects(read(path as string), { code: "INVALID_OPTION", message: /^file: expected a path/ });
  }
  for (const path of ["a\0b", "\0"]) {
    await t.rejects(writeSession(path, image), { code: "SESSION_PATH", message: /NUL/ });
    await t.rejects(read(path), { code: "SESSION_PATH", message: /NUL/ });
  }
});

t.test("folders, links, pipes and devices are refused, and stay what they were", async (t) => {
  const folder = t.testdir({ target: "precious", folder: { inside: "x" } });
  const place = (name: string) => join(folder, name);
  symlinkSync(place("target"), place("link"));
  symlinkSync(place("nothing"), place("dangling"));
  symlinkSync(place("folder"), place("folderlink"));
  execFileSync("mkfifo", [place("pipe")]);
  const before = readdirSync(folder).sort();
  for (const name of ["folder", "link", "dangling", "folderlink", "pipe"]) {
    const mode = lstatSync(place(name)).mode;
    await t.rejects(
      writeSession(place(name), image),
      { name: "SessionFileError", code: "SESSION_PATH" },
      `write ${name}`,
    );
    await t.rejects(read(place(name)), { name: "SessionFileError", code: "SESSION_PATH" }, `read ${name}`);
    t.equal(lstatSync(place(name)).mode, mode);
  }
  t.same(readdirSync(folder).sort(), before, "nothing is left beside them");
  t.equal(readFileSync(place("target"), "utf8"), "precious");
  t.notOk(existsSync(place("nothing")));
  if (existsSync("/dev/zero")) {
    await t.rejects(writeSession("/dev/zero", image), { code: "SESSION_PATH" });
    await t.rejects(read("/dev/zero"), { code: "SESSION_PATH" });
  }
});

t.test("what is not there, and names too long", async (t) => {
  const folder = t.testdir({ file: "x" });
  await t.rejects(read(join(folder, "none")), { code: "SESSION_NOT_FOUND", status: 404 });
  await t.rejects(writeSession(join(folder, "none", "a"), image), { code: "SESSION_NOT_FOUND" });
  await t.rejects(writeSession(join(folder, "file", "a"), image), { code: "SESSION_NOT_FOUND" });
  for (const length of [256, 300, 5000]) {
    const path = join(folder, "x".repeat(length));
    await t.rejects(
      writeSession(path, image),
      { code: "SESSION_PATH", message: /name is too long/ },
      `write ${length}`,
    );
    await t.rejects(read(path), { code: "SESSION_PATH" }, `read ${length}`);
  }
  t.same(readdirSync(folder), ["file"]);
});

t.test("any name the system takes, over any regular file", async (t) => {
  const folder = t.testdir({ old: "not a session" });
  mkdirSync(join(folder, "sub"));
  for (const name of ["old", "x".repeat(255), "with space and \u{1f9a6}", "..session", "sub/../again", "-n"]) {
    await writeSession(join(folder, name), image);
    t.same((await read(join(folder, name))).tokens, image.tokens, name);
  }
});

t.test("temporary files of processes that are gone are removed, others are not", async (t) => {
  const folder = t.testdir({});
  const { ownerTag } = await import("../../dist/esm/models/index.js");
  const host = ownerTag.split("-")[0];
  const name = (owner: string): string => `.lutra-${owner}-0123456789abcdef.session`;
  const gone = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
  const kept = [name(ownerTag), name(`${host}-${process.ppid}`), name(`00000000-${gone}`), ".lutra-notes.session"];
  for (const each of [...kept, name(`${host}-${gone}`)]) writeFileSync(join(folder, each), "x");
  await writeSession(join(folder, "a"), image);
  t.same(readdirSync(folder).sort(), [...kept, "a"].sort());
});
