// The same smoke test over both builds of the addon: cmake-js's and node-gyp's load, generate, and agree to the bit.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import t from "tap";
import { buildModel, writeGguf } from "../support/gguf-builder.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const builds = {
  "cmake-js": join(root, "build", "Release", "lutra.node"),
  "node-gyp": join(root, "build", "gyp", "build", "Release", "lutra.node"),
};
const folder = mkdtempSync(join(tmpdir(), "lutra-smoke-"));
const model = writeGguf(join(folder, "tiny.gguf"), buildModel({ seed: 7 }));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const program = `
import { loadModel } from ${JSON.stringify(pathToFileURL(join(root, "dist/esm/index.js")).href)};
import { getBinding } from ${JSON.stringify(pathToFileURL(join(root, "dist/esm/binding/index.js")).href)};
const model = await loadModel(process.argv[1], { threads: 2, contextSize: 64, isa: process.argv[2] });
const { tokens, finishReason } = await model.generate("smoke", { maxTokens: 8, temperature: 0, ignoreEos: true, seed: 1 });
const { nll } = await model.perplexity("smoke and no fire");
const isa = model.info.isa;
await model.dispose();
const { available } = getBinding().cpu();
process.stdout.write(JSON.stringify({ tokens, finishReason, nll, isa, available, counters: getBinding().counters() }));
`;

interface Outcome {
  tokens: number[];
  finishReason: string;
  nll: number;
  isa: string;
  available: string[];
  counters: { models: number; engines: number };
}

function runSmoke(binary: string, isa: string): Outcome {
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", program, model, isa], {
    encoding: "utf8",
    env: { ...process.env, LUTRA_BINARY: binary },
    timeout: 60_000,
  });
  return JSON.parse(output) as Outcome;
}

const outcomes = new Map<string, Outcome>();
for (const [name, binary] of Object.entries(builds)) {
  const skip = existsSync(binary) ? false : `not built: ${binary.slice(root.length + 1)}`;
  t.test(`${name} addon`, { skip }, (t) => {
    const best = runSmoke(binary, "auto");
    t.equal(best.tokens.length, 8);
    t.equal(best.finishReason, "length");
    t.ok(best.nll > 0 && best.nll < 20, `mean negative log-likelihood ${best.nll}`);
    t.same([best.counters.models, best.counters.engines], [0, 0], "nothing is held after dispose");
    t.ok(best.available.includes(best.isa), `${best.isa} of ${best.available.join(", ")}`);
    for (const isa of best.available) {
      const one = runSmoke(binary, isa);
      t.equal(one.isa, isa);
      outcomes.set(`${name} ${isa}`, one);
      t.ok(Math.abs(one.nll - best.nll) < 1e-2, `${isa} is close to ${best.isa}`);
    }
    t.end();
  });
}

t.test("both builds give the same bits on the same path", (t) => {
  for (const isa of ["scalar", "avx2", "avx512", "neon"]) {
    const first = outcomes.get(`cmake-js ${isa}`);
    const second = outcomes.get(`node-gyp ${isa}`);
    if (first && second) t.same([second.tokens, second.nll], [first.tokens, first.nll], isa);
    else t.comment(`${isa}: not run in both builds`);
  }
  t.end();
});
