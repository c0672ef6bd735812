// A calibration of activation sparsity on SmolLM2: the shares that it gives layers and sites cost less than even ones, and its
// thresholds leave on other text what they were asked for.
import { join } from "node:path";
import t from "tap";
import { builtinText } from "../../dist/esm/calibration/index.js";
import { calibrateSparsity, type FfnSparsityOptions, loadModel } from "../../dist/esm/index.js";
import { modelPath } from "../support/models.js";

const path = await modelPath("smollm2-135m-instruct");
const calibration = join(t.testdir(), "teal.json");
const text = builtinText.slice(0, builtinText.length >> 1);
const other = builtinText.slice(builtinText.length >> 1);

t.before(async () => {
  await calibrateSparsity(path, { ffnSparsity: { type: "teal" }, text, maxTokens: 128, file: calibration, threads: 2 });
});

async function distance(ffnSparsity: FfnSparsityOptions): Promise<{ kl: number; kept: number }> {
  await using model = await loadModel(path, { contextSize: 256, maxSequences: 1, threads: 2, ffnSparsity });
  const { against } = await model.perplexity(model.tokenize(other).slice(0, 256), { against: "exact" });
  return { kl: against!.klMean, kept: against!.sparsity!.kept };
}

t.test("the same share of the weights, at less distance", async (t) => {
  const uniform = await distance({ type: "teal", keep: 0.6, allocation: "uniform" });
  const calibrated = await distance({ type: "teal", keep: 0.6, calibration });
  t.comment({ uniform, calibrated });
  t.ok(Math.abs(calibrated.kept - 0.6) < 0.01, `${calibrated.kept}`);
  t.ok(calibrated.kl < uniform.kl, `${calibrated.kl} < ${uniform.kl}`);
});

t.test("thresholds leave about what was asked for", async (t) => {
  for (const keep of [0.5, 0.75]) {
    const { kept, kl } = await distance({ type: "teal", keep, selection: "threshold", calibration });
    t.comment({ keep, kept, kl });
    t.ok(Math.abs(kept - keep) < 0.05, `${kept}`);
    const hybrid = await distance({ type: "teal", keep, selection: "hybrid", calibration });
    t.ok(Math.abs(hybrid.kept - keep) < 0.05, `${hybrid.kept}`);
  }
});
