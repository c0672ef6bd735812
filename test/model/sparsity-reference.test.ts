// That scores and masks are right: KL to exact computation on the golden tokens beside that of an independent implementation
// (NumPy, float32 activations, exact top-k a token, uniform over layers, the first four positions dense).
import t from "tap";
import { type FfnSparsityOptions, loadModel } from "../../dist/esm/index.js";
import { modelPath } from "../support/models.js";
import { readGolden } from "../support/shared-data.js";

/** Mean KL at a share kept of 0.75, 0.6, 0.5 and 0.35. */
const references: [Omit<FfnSparsityOptions, "keep">, number[]][] = [
  [{ type: "down-only" }, [0.0036, 0.014, 0.0395, 0.11]],
  [{ type: "cats" }, [0.0445, 0.205, 0.361, 1.09]],
  [{ type: "teal", allocation: "uniform" }, [0.0473, 0.187, 0.45]],
  [{ type: "teal", allocation: "uniform", attention: true }, [0.0515, 0.234, 0.549]],
  [{ type: "wina", allocation: "uniform", attention: true, norms: "own" }, [0.0447, 0.23, 0.528]],
  [{ type: "random" }, [2.34]],
];
const keeps = [0.75, 0.6, 0.5, 0.35];
const tolerance = 0.15;

const golden = readGolden("smollm2-135m-instruct");
const skip = golden === null && "the golden tokens are not there";

for (const [method, expected] of references) {
  t.test(JSON.stringify(method), { skip }, async (t) => {
    const path = await modelPath("smollm2-135m-instruct");
    for (const [i, kl] of expected.entries()) {
      const keep = keeps[i]!;
      await using model = await loadModel(path, { threads: 2, matmul: "dot", ffnSparsity: { ...method, keep } });
      const { ppl, against } = await model.perplexity(golden!.ids, { contextSize: 512, against: "exact" });
      const found = against!.klMean;
      t.ok(Math.abs(found / kl - 1) <= tolerance, `${keep}: KL ${found.toPrecision(3)}, expected ${kl} ± 15 %`);
      t.comment(
        `${keep}: KL ${found.toPrecision(3)} of ${kl}, perplexity ${(100 * (ppl! / against!.ppl - 1)).toFixed(1)} %, top-1 ${(100 * against!.top1Agreement).toFixed(1)} %`,
      );
    }
  });
}
