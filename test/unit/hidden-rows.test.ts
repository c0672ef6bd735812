// Rows of a step that want their hidden state: what it is, that nothing but the text decides its bits, and that rows
// beside it notice nothing.
import t from "tap";
import { buildModel } from "../support/gguf-builder.js";
import type { ModelOptions } from "../support/gguf-model.js";
import { tinyModel } from "../support/models.js";
import { NativeSession, type StepAnswers } from "../support/native-session.js";

const length = 150;
const idsOf = (vocabSize: number): number[] => Array.from({ length }, (_, i) => 3 + ((i * 131) % (vocabSize - 3)));
const architectures = ["llama", "qwen2", "qwen3", "gemma3"] as const;

/** The floats of an F32 tensor of the model. */
function tensorOf(options: ModelOptions, name: string): Float32Array | undefined {
  const data = buildModel(options).tensors.find((tensor) => tensor.name === name)?.data;
  return data && new Float32Array(data.slice().buffer);
}

for (const architecture of architectures) {
  t.test(`${architecture}: a hidden state is what the head multiplies`, (t) => {
    const options = { architecture, type: "F32" } as const;
    const session = new NativeSession(tinyModel({ contextLength: 512, ...options }));
    const ids = idsOf(session.vocabSize);
    const head = tensorOf(options, "output.weight") ?? (tensorOf(options, "token_embd.weight") as Float32Array);
    const states = session.hiddenStates(ids, 64);
    t.equal(states.length, length);
    let worst = 0;
    session.reset();
    session.feed(ids, 64, (row, logits) => {
      const state = states[row] as Float32Array;
      logits.forEach((logit, v) => {
        const product = state.reduce((sum, x, i) => sum + x * (head[v * session.dim + i] as number), 0);
        worst = Math.max(worst, Math.abs(product - logit) / (1 + Math.abs(logit)));
      });
    });
    session.dispose();
    t.ok(worst < 1e-5, `the head's product is at most ${worst} off`);
    t.end();
  });
}

for (const options of [{ type: "Q4_K" }, { architecture: "gemma3", type: "Q8_0" }] as const) {
  t.test(`${JSON.stringify(options)}: the same bits in any chunks, on any number of threads`, (t) => {
    let expected: Float32Array[] | undefined;
    for (const threads of [1, 2]) {
      for (const chunk of [512, 64, 7, 1]) {
        const session = new NativeSession(tinyModel(options), { threads });
        const states = session.hiddenStates(idsOf(session.vocabSize), chunk);
        session.dispose();
        expected ??= states;
        t.same(states, expected, `${threads} threads, chunks of ${chunk}`);
      }
    }
    t.end();
  });
}

t.test("beside rows that want candidates", (t) => {
  const session = new NativeSession(tinyModel({ type: "Q4_0" }), { threads: 2 });
  const ids = idsOf(session.vocabSize).slice(0, 40);
  const run = (wants: readonly number[]): StepAnswers => {
    session.reset();
    return session.run(ids, wants);
  };
  const hidden = run(ids.map(() => 3)).hidden;
  const { candidates } = run(ids.map(() => 1));
  // All that want something together, in a mixed order.
  const want = (i: number): number => [3, 1, 0, 3, 3, 2, 1][i % 7] as number;
  const mixed = run(ids.map((_, i) => want(i)));
  t.same(
    mixed.hidden,
    hidden.filter((_, i) => want(i) === 3),
    "hidden states",
  );
  const pick = (i: number): boolean => want(i) === 1 || want(i) === 2;
  t.same(
    mixed.candidates.map(({ ids, logits }) => [ids, logits]),
    candidates.filter((_, i) => pick(i)).map(({ ids, logits }) => [ids, logits]),
    "candidates",
  );
  // One greedy row alone among hidden ones, as when texts are embedded beside one stream.
  const greedy = run(ids.map((_, i) => (i === 39 ? 2 : 3)));
  t.same(greedy.candidates[0]?.ids, candidates[39]?.ids);
  t.same(greedy.hidden, hidden.slice(0, 39));
  session.dispose();
  t.end();
});

t.test("sizes and values are checked", (t) => {
  const session = new NativeSession(tinyModel(), { hiddenRows: 2 });
  t.throws(() => session.run([5, 6, 7], [3, 3, 3]), { name: "TypeError", message: /hidden: expected .*192/ });
  t.throws(() => session.run([5], [4]), { code: "INVALID_OPTION", message: "wants[0]: expected 0, 1, 2 or 3, got 4" });
  t.equal(session.run([5, 6, 7], [3, 0, 3]).hidden.length, 2, "and goes on");
  session.dispose();
  t.end();
});
