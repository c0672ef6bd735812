/**
 * Finds and loads the native addon. Order: the file LUTRA_BINARY names, else build/Release/lutra.node in the package
 * (where cmake-js puts it), else prebuilds/<platform>-<arch>/lutra.node (what a packed tarball holds). A failure lists
 * every path tried, why it failed, and what to do.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { createError } from "../errors.js";
import { here } from "./here.js";
import { abiVersion, type NativeBinding } from "./native.js";

export interface BinaryAttempt {
  path: string;
  source: "LUTRA_BINARY" | "package";
  /** Empty when the addon of this path was loaded. */
  failure: string;
}

/** The package's root: the nearest folder above with a package.json named lutra. */
export function packageRoot(): string {
  for (let dir = here; ; dir = dirname(dir)) {
    if (packageName(join(dir, "package.json")) === "lutra") return dir;
    if (dir === dirname(dir)) return resolve(here, "../../..");
  }
}

export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string }).version;
}

function packageName(file: string): unknown {
  try {
    return (JSON.parse(readFileSync(file, "utf8")) as { name?: unknown }).name;
  } catch {
    return undefined;
  }
}

export function candidatePaths(): Omit<BinaryAttempt, "failure">[] {
  const forced = process.env["LUTRA_BINARY"];
  if (forced) return [{ path: resolve(forced), source: "LUTRA_BINARY" }];
  const root = packageRoot();
  return [
    { path: join(root, "build", "Release", "lutra.node"), source: "package" },
    { path: join(root, "prebuilds", `${process.platform}-${process.arch}`, "lutra.node"), source: "package" },
  ];
}

/** Loads the first candidate that works; `attempts` receives one entry for each path tried. */
export function loadBinary(attempts: BinaryAttempt[]): NativeBinding {
  const require = createRequire(join(here, "binding.js"));
  for (const candidate of candidatePaths()) {
    const attempt = { ...candidate, failure: "" };
    attempts.push(attempt);
    if (!existsSync(candidate.path)) {
      attempt.failure = "no such file";
      continue;
    }
    try {
      const loaded = require(candidate.path) as NativeBinding;
      if (loaded.abiVersion === abiVersion) return loaded;
      attempt.failure = `built for binding version ${String(loaded.abiVersion)}, this package needs ${abiVersion}`;
    } catch (thrown) {
      attempt.failure = thrown instanceof Error ? (thrown.message.split("\n")[0] ?? "") : String(thrown);
    }
  }
  const tried = attempts.map((attempt) => `\n  ${attempt.path} (${attempt.source}): ${attempt.failure}`).join("");
  throw createError(
    "BINARY_NOT_FOUND",
    `the native addon could not be loaded; tried:${tried}\nBuild it with \`npm run build:native\` in the package, or set LUTRA_BINARY to a lutra.node file.`,
  );
}
