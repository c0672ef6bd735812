// The direction rules of ARCHITECTURE.md, read from its two tables and checked against every include and import.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");

interface Room {
  calls: string[];
  publicHeaders: string[];
}
type Rooms = Map<string, Room>;

function ticked(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
}

/** The rows of the table under a heading: room → what it may call (last column), public headers (third of four). */
function readTable(heading: string): Rooms {
  const section = page.split(/^## /m).find((part) => part.startsWith(heading)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  return new Map(
    rows.map((row) => {
      const cells = row.split("|").slice(1, -1);
      const headers = cells.length === 4 ? ticked(cells[2]!) : [];
      return [ticked(cells[0]!)[0]!.replace("/", ""), { calls: ticked(cells.at(-1)!), publicHeaders: headers }];
    }),
  );
}

function listFiles(folder: string, pattern: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true })
    .map((file) => String(file).split(sep).join("/"))
    .filter((file) => pattern.test(file));
}

/** Room-level complaints about one edge. `file` and `target` are relative to the tree. */
function checkInclude(rooms: Rooms, file: string, target: string): string[] {
  const from = file.split("/")[0]!;
  const [to, ...rest] = target.split("/");
  const room = rooms.get(from);
  const other = rooms.get(to!);
  if (!room) return [`${file}: the room ${from} is not in ARCHITECTURE.md`];
  if (!other) return [`${file}: includes "${target}", and there is no room ${to}`];
  if (from === to) return [];
  const complaints: string[] = [];
  if (!room.calls.includes(to!)) complaints.push(`${file}: ${from} may not call ${to} ("${target}")`);
  if (!other.publicHeaders.includes("*") && !other.publicHeaders.includes(rest.join("/")))
    complaints.push(`${file}: "${target}" is not a public header of ${to}`);
  return complaints;
}

function checkImport(rooms: Rooms, file: string, specifier: string, typeOnly = false): string[] {
  const from = file.includes("/") ? file.split("/")[0]! : file;
  const room = rooms.get(from);
  if (!specifier.startsWith(".")) {
    const pure = from === "scheduler" || from === "sampling" || from === "speculation";
    // Option schemas and the entropy of a seed nobody named; no files, no threads, no network.
    const allowed = specifier === "zod" || specifier === "node:crypto";
    return pure && !allowed ? [`${file}: ${from} is pure and imports "${specifier}"`] : [];
  }
  const target = posix.join(posix.dirname(file), specifier).replace(/\.js$/, ".ts");
  if (/^(errors|limits|types)\.ts$/.test(target)) return [];
  // The shapes of the step's arrays: `import type` is erased, so nothing is called.
  if (typeOnly && target === "binding/native.ts") return [];
  const to = target.split("/")[0]!;
  if (from === to) return [];
  if (/^(errors|limits|types)\.ts$/.test(from)) return [`${file}: imports a room ("${specifier}")`];
  if (!room) return [`${file}: the room ${from} is not in ARCHITECTURE.md`];
  const complaints: string[] = [];
  if (!room.calls.includes(to)) complaints.push(`${file}: ${from} may not call ${to} ("${specifier}")`);
  if (target !== `${to}/index.ts`) complaints.push(`${file}: "${specifier}" reaches past the index.ts of ${to}`);
  return complaints;
}

/** A cycle among rooms, as a path, or an empty list. */
function findCycle(rooms: Rooms): string[] {
  const done = new Set<string>();
  const visit = (name: string, path: string[]): string[] => {
    if (path.includes(name)) return [...path, name];
    if (done.has(name)) return [];
    for (const next of rooms.get(name)?.calls ?? []) {
      const found = visit(next, [...path, name]);
      if (found.length > 0) return found;
    }
    done.add(name);
    return [];
  };
  for (const name of rooms.keys()) {
    const found = visit(name, []);
    if (found.length > 0) return found;
  }
  return [];
}

const includePattern = /^\s*#\s*include\s*["<]([^">]+)[">]/gm;
const importPattern =
  /(?:^|\n)\s*(?:import|export)\s(type\s)?[^;]*?from\s*["']([^"']+)["']|import\s*\(\s*["']([^"']+)["']/g;
const native = readTable("native/");
const lib = readTable("lib/");

t.test("the tables are read and have no cycles", (t) => {
  t.ok(native.size >= 11, `${native.size} native rooms`);
  t.ok(lib.size >= 9, `${lib.size} lib rooms`);
  t.same(findCycle(native), []);
  t.same(findCycle(lib), []);
  t.same(
    findCycle(
      new Map([
        ["a", { calls: ["b"], publicHeaders: [] }],
        ["b", { calls: ["a"], publicHeaders: [] }],
      ]),
    ),
    ["a", "b", "a"],
  );
  t.end();
});

t.test("native includes keep to the rooms", (t) => {
  const complaints: string[] = [];
  for (const file of listFiles("native", /\.(cc|h|inc)$/)) {
    const text = readFileSync(join(root, "native", file), "utf8");
    for (const [, target] of text.matchAll(includePattern)) {
      if (target === "napi.h" || target === "node_api.h") {
        if (!file.startsWith("addon/")) complaints.push(`${file}: only addon includes ${target}`);
      } else if (target!.includes("/") && native.has(target!.split("/")[0]!)) {
        complaints.push(...checkInclude(native, file, target!));
      }
    }
  }
  t.same(complaints, []);
  t.end();
});

t.test("TypeScript imports keep to the rooms", (t) => {
  const complaints: string[] = [];
  for (const file of listFiles("lib", /\.c?ts$/)) {
    const text = readFileSync(join(root, "lib", file), "utf8");
    for (const match of text.matchAll(importPattern))
      complaints.push(...checkImport(lib, file, (match[2] ?? match[3])!, match[1] !== undefined));
  }
  t.same(complaints, []);
  t.end();
});

t.test("ISA code shares nothing with baseline code", (t) => {
  const complaints: string[] = [];
  // The headers of kernels/lut have internal linkage. scalar/select.h declares ordinary functions and defines none.
  const allowed =
    /^(kernels\/(avx2|avx512|neon)\/|kernels\/scalar\/select\.h$|kernels\/(kernels|panel_layout|column_layout|column_kernels|channel_kernels|screen_args|lookup_args|lookup_kernels|lookup_scale|lookup_row|lut_kernels|fetch)\.h$|kernels\/lut\/\w+\.h$|base\/(cpu|tensor_type)\.h$|c\w+$|immintrin\.h$|arm_neon\.h$)/;
  for (const file of listFiles("native/kernels", /^(avx2|avx512|neon)\/.*\.(cc|h)$/)) {
    const text = readFileSync(join(root, "native/kernels", file), "utf8");
    for (const [, target] of text.matchAll(includePattern))
      if (!allowed.test(target!)) complaints.push(`kernels/${file}: includes ${target}`);
  }
  t.same(complaints, []);
  t.end();
});

t.test("the rules can fail", (t) => {
  t.equal(checkInclude(native, "kernels/kernels.h", "model/model.h").length, 1);
  t.equal(checkInclude(native, "tokenizer/bpe.cc", "gguf/part.h").length, 1);
  t.equal(checkInclude(native, "closet/x.h", "base/status.h").length, 1);
  t.equal(checkImport(lib, "scheduler/scheduler.ts", "node:fs").length, 1);
  t.equal(checkImport(lib, "scheduler/scheduler.ts", "../binding/index.js").length, 1);
  t.equal(checkImport(lib, "engine/model.ts", "../worker/protocol.js").length, 1);
  t.equal(checkImport(lib, "errors.ts", "./engine/index.js").length, 1);
  t.equal(checkImport(lib, "scheduler/step.ts", "../binding/native.js").length, 2);
  t.same(checkImport(lib, "scheduler/step.ts", "../binding/native.js", true), []);
  t.same(checkImport(lib, "worker/loop.ts", "../binding/index.js"), []);
  t.end();
});

t.test("no room for leftovers", (t) => {
  const files = ["native", "lib", "test", "bench"].flatMap((folder) =>
    listFiles(folder, /./).map((file) => `${folder}/${file}`),
  );
  t.same(
    files.filter((file) => /(^|\/)(utils?|common|helpers?|misc)(\/|\.|$)/i.test(file)),
    [],
  );
  t.end();
});

t.test("sizes (guidance: printed, not failed)", (t) => {
  const limitOf = (file: string) =>
    file.endsWith(".ts") ? 300 : file.endsWith(".h") ? 150 : file.startsWith("native/kernels") ? 500 : 400;
  const sources = [
    ...listFiles("native", /\.(cc|h)$/).map((file) => `native/${file}`),
    ...listFiles("lib", /\.ts$/).map((file) => `lib/${file}`),
  ];
  for (const file of sources.filter((name) => !/_(data|tables?)\.(cc|h)$/.test(name))) {
    const lines = readFileSync(join(root, file), "utf8").split("\n").length - 1;
    if (lines > limitOf(file)) t.comment(`${file}: ${lines} lines, guidance is ${limitOf(file)}`);
  }
  t.ok(sources.length > 0, `${sources.length} files measured`);
  t.end();
});
