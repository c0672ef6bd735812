/** Models for tests: tiny random ones, written once per process, and the two real ones when they can be had. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveModel } from "../../dist/esm/models/index.js";
import { buildModel, type ModelOptions, writeGguf } from "./gguf-builder.js";

let folder: string | undefined;
const written = new Map<string, string>();

/** A template that every role and any content goes through, trimmed as many real templates do. */
export const tinyTemplate =
  "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/** Path of a tiny valid model; the file is removed when the process ends. */
export function tinyModel(options: ModelOptions = {}): string {
  const key = JSON.stringify(options);
  const known = written.get(key);
  if (known !== undefined) return known;
  if (folder === undefined) {
    const created = mkdtempSync(join(tmpdir(), "lutra-test-"));
    folder = created;
    process.on("exit", () => rmSync(created, { recursive: true, force: true }));
  }
  const path = writeGguf(join(folder, `tiny-${written.size}.gguf`), buildModel({ contextLength: 512, ...options }));
  written.set(key, path);
  return path;
}

/** A tiny model whose prompt steps take tens of milliseconds, so that something can happen in the middle of one. */
export function slowTinyModel(): string {
  return tinyModel({
    nLayers: 4,
    dim: 256,
    nHeads: 4,
    nKvHeads: 4,
    headDim: 64,
    hiddenDim: 512,
    vocabSize: 512,
    contextLength: 4096,
  });
}

export type RealModelName = "smollm2-135m-instruct" | "gemma-3-270m";

/** Path of a real model: from the cache (LUTRA_CACHE), or pulled into it. */
export function modelPath(name: RealModelName): Promise<string> {
  return resolveModel(name, { offline: process.env.LUTRA_OFFLINE === "1" });
}
