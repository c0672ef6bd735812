/** Files that are valid GGUF but no valid model are refused at load with the right code, naming what is wrong. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { getBinding } from "../../dist/esm/binding/index.js";
import { writeGguf } from "../support/gguf-builder.js";
import { modelCases } from "../support/gguf-model-cases.js";

const binding = getBinding();
const directory = mkdtempSync(join(tmpdir(), "lutra-model-"));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

/** Loads and releases; the code it gave, and the message. */
function load(path: string): { code: string; message: string } {
  try {
    binding.modelRelease(binding.modelAcquire(path, 1, new Int32Array(2)));
    return { code: "OK", message: "" };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  }
}

modelCases.forEach(({ name, code, says, spec }, index) => {
  t.test(name, async (t) => {
    const found = load(writeGguf(join(directory, `${index}.gguf`), spec));
    t.equal(found.code, code, found.message || name);
    if (says && found.code !== "OK") t.match(found.message, says);
  });
});

t.test("nothing of a refused model stays in memory", async (t) => {
  const { models, bytes } = binding.counters();
  t.equal(models, 0);
  t.equal(bytes, 0);
});
