// Moved K/V pages on the real models: decoding goes on from them bit for bit.
import t from "tap";
import { modelPath } from "../support/models.js";
import { checkPageMoves } from "../support/page-moves.js";

for (const name of ["smollm2-135m-instruct", "gemma-3-270m"] as const) {
  for (const kvType of ["f16", "q8_0"] as const) {
    t.test(`${name}, ${kvType}`, async (t) => {
      const ids = Array.from({ length: 560 }, (_, i) => 100 + ((i * 7919) % 20000));
      checkPageMoves(t, { path: await modelPath(name), kvType, ids, prompt: 545 });
    });
  }
}
