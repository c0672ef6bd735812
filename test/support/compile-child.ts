/** A test's subprocess as plain JavaScript beside its data, so that each of many runs starts at once. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** Compiles a file of test/lifecycle into `folder` and returns its path. */
export function compileChild(name: string, folder: string): string {
  const source = readFileSync(join(import.meta.dirname, "../lifecycle", name), "utf8");
  const dist = new URL("../../dist/", import.meta.url).href;
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const path = join(folder, name.replace(/\.ts$/, ".mjs"));
  // Imports need the absolute place; URLs made from import.meta.url take an absolute one as it is.
  writeFileSync(path, outputText.replaceAll("../../dist/", dist));
  return path;
}
