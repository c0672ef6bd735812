// A session of 2,048 tokens on the real models: saved, restored in a fresh process for a small part of what reading it
// again costs, and continued with the same 64 greedy tokens.
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { compileChild } from "../support/compile-child.js";
import { modelPath } from "../support/models.js";

const prompt = " After that, the otter";
const cases = [
  ["smollm2-135m-instruct", "f16"],
  ["smollm2-135m-instruct", "q8_0"],
  ["gemma-3-270m", "f16"],
] as const;

for (const [name, kvCacheType] of cases) {
  t.test(`${name}, ${kvCacheType}`, async (t) => {
    const path = await modelPath(name);
    const options = { contextSize: 2304, maxSequences: 2, kvCacheType };
    const model = await loadModel(path, options);
    t.teardown(() => model.dispose());
    const folder = t.testdir({});
    const file = join(folder, "otter.session");
    const ids = Array.from({ length: 2040 }, (_, i) => 100 + ((i * 7919) % 20_000));
    const session = model.session({ tokens: ids.slice(0, 2000) });
    await session.generate(ids.slice(2000), { maxTokens: 8, temperature: 0, ignoreEos: true });
    t.equal(session.tokens.length, 2048);
    await session.save(file);
    const wanted = await session.generate(prompt, { maxTokens: 64, temperature: 0, ignoreEos: true });

    const child = compileChild("session-restore-child.ts", folder);
    const args = [child, path, JSON.stringify(options), file, prompt];
    const found = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8", timeout: 120_000 }));
    t.equal(found.history, 2048);
    t.same(found.tokens, wanted.tokens, "the fresh process goes on with the same tokens");
    t.same(found.again, wanted.tokens, "and so does one that reads the history again");
    const share = found.restoreMs / found.readMs;
    const figures = `${found.loadMs.toFixed(0)} ms to load, ${found.restoreMs.toFixed(0)} ms to the first token`;
    t.comment(`${figures}, ${found.readMs.toFixed(0)} ms to read again; ${statSync(file).size} bytes`);
    t.ok(share <= 0.15, `restoring costs ${(100 * share).toFixed(1)} % of reading again`);
  });
}
