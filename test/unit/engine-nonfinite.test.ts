// K8: a token whose logits are not finite ends the request that holds it, not the ones that share its steps.
import { join } from "node:path";
import t from "tap";
import { loadModel } from "../../dist/esm/index.js";
import { buildModel, type GgufTensor, withTensor, writeGguf } from "../support/gguf-builder.js";

const poison = 300;
const [dim, hiddenDim, vocabSize] = [64, 128, 512];

/** The tensor's floats, changed in place. */
function edit(tensor: GgufTensor, change: (floats: Float32Array) => void): GgufTensor {
  const floats = new Float32Array(tensor.data.slice().buffer);
  change(floats);
  return { ...tensor, data: new Uint8Array(floats.buffer) };
}

/** Only the poison token has anything in dimension 0, where gate and up overflow each other's product. */
function poisonedModel(folder: string): string {
  let spec = buildModel({ type: "F32", nLayers: 1, dim, nHeads: 2, nKvHeads: 1, headDim: 32, hiddenDim, vocabSize });
  spec = withTensor(spec, "token_embd.weight", (tensor) =>
    edit(tensor, (rows) => {
      for (let token = 0; token < vocabSize; token++) rows[token * dim] = token === poison ? 100 : 0;
    }),
  );
  spec = withTensor(spec, "blk.0.attn_output.weight", (tensor) => edit(tensor, (rows) => rows.fill(0, 0, dim)));
  for (const name of ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"]) {
    spec = withTensor(spec, name, (tensor) =>
      edit(tensor, (rows) => {
        rows.fill(0, 0, dim);
        rows[0] = 1e30;
      }),
    );
  }
  return writeGguf(join(folder, "poisoned.gguf"), spec);
}

t.test("neighbours of a poisoned request are as if alone", async (t) => {
  const model = await loadModel(poisonedModel(t.testdir({})), { threads: 1 });
  const options = { maxTokens: 24, temperature: 0, ignoreEos: true, logitBias: { [poison]: -Infinity } };
  const alone = await model.generate([260, 261, 262], options);
  const neighbour = model.generate([260, 261, 262], options);
  const poisoned = [model.generate([260, poison], options), model.generate([263, 264, poison], options)];
  const scored = model.perplexity([260, poison, 262, 263]);
  const embedded = (["mean", "last"] as const).map((pooling) => model.embed([[260], [261, poison]], { pooling }));
  const expected = { name: "InternalError", code: "E_NONFINITE", message: /not finite/ };
  await Promise.all([...poisoned, scored, ...embedded].map((request) => t.rejects(Promise.resolve(request), expected)));
  t.same((await neighbour).tokens, alone.tokens);
  t.same((await model.generate([260, 261, 262], options)).tokens, alone.tokens, "and nothing is left behind");
  await model.dispose();
});
