/** How far the exact path is from the full-precision oracle on real text, and that nothing but the text decides it. */
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { modelPath, type RealModelName } from "../support/models.js";
import { NativeSession, type SessionOptions } from "../support/native-session.js";
import { type Golden, readGolden } from "../support/shared-data.js";

interface Distance {
  meanKl: number;
  top1: number;
  perplexity: number;
}

/** KL(oracle ‖ engine) over the oracle's 32 best tokens and the pooled rest, averaged over positions. */
function measure(session: NativeSession, golden: Golden): Distance {
  let kl = 0;
  let agreed = 0;
  let negativeLogLikelihood = 0;
  session.feed(golden.ids, 512, (row, logits) => {
    const logSumExp = logSumExpOf(logits);
    let oracleRest = 1;
    let engineRest = 1;
    golden.top_ids[row]?.forEach((id, i) => {
      const oracle = (golden.top_logits[row]?.[i] ?? Number.NaN) - (golden.logsumexp[row] ?? Number.NaN);
      const engine = (logits[id] as number) - logSumExp;
      kl += Math.exp(oracle) * (oracle - engine);
      oracleRest -= Math.exp(oracle);
      engineRest -= Math.exp(engine);
    });
    if (oracleRest > 1e-9 && engineRest > 1e-9) kl += oracleRest * Math.log(oracleRest / engineRest);
    if (argmax(logits) === golden.top_ids[row]?.[0]) agreed++;
    const next = golden.ids[row + 1];
    if (next !== undefined) negativeLogLikelihood += logSumExp - (logits[next] as number);
  });
  const n = golden.ids.length;
  return { meanKl: kl / n, top1: agreed / n, perplexity: Math.exp(negativeLogLikelihood / (n - 1)) };
}

function logSumExpOf(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best;
}

const kvTypes = ["f16", "q8_0"] as const;

const models: { name: RealModelName; maxKl: number; minTop1: number }[] = [
  { name: "smollm2-135m-instruct", maxKl: 3.2e-3, minTop1: 0.985 },
  { name: "gemma-3-270m", maxKl: 5.7e-3, minTop1: 0.96 },
];

for (const { name, maxKl, minTop1 } of models) {
  const golden = readGolden(name);
  t.test(
    `${name} is as close to full precision as llama.cpp`,
    { skip: golden === null && "golden outputs are absent" },
    async (t) => {
      for (const kvType of kvTypes) {
        const session = new NativeSession(await modelPath(name), { threads: 2, kvType });
        const distance = measure(session, golden as Golden);
        session.dispose();
        t.comment(`${kvType} ${JSON.stringify(distance)}`);
        t.ok(distance.meanKl <= maxKl, `${kvType}: mean KL ${distance.meanKl} is at most ${maxKl}`);
        t.ok(distance.top1 >= minTop1, `${kvType}: top-1 agreement ${distance.top1} is at least ${minTop1}`);
        const ratio = distance.perplexity / (golden as Golden).perplexity;
        t.ok(Math.abs(ratio - 1) <= 3e-3, `${kvType}: perplexity ratio ${ratio} is within 0.3 %`);
      }
    },
  );
}

/** A hash of every bit of every row's logits. */
function fingerprint(path: string, ids: readonly number[], chunk: number, options: SessionOptions): string[] {
  const session = new NativeSession(path, options);
  const rows: string[] = [];
  session.feed(ids, chunk, (_, logits) => {
    const bits = new Uint32Array(logits.buffer, logits.byteOffset, logits.length);
    let hash = 0x811c9dc5;
    for (const word of bits) hash = Math.imul(hash ^ word, 0x01000193);
    rows.push((hash >>> 0).toString(16));
  });
  session.dispose();
  return rows;
}

for (const { name } of models) {
  t.test(`${name}: logits are the same bits for any prompt chunk and thread count`, async (t) => {
    const path = await modelPath(name);
    const tokenizer = binding.tokenizerAcquire(path);
    const text =
      "The otter is a semiaquatic mammal. It dives for fish, rests on its back, and 3.14159 is not a fish.\n".repeat(6);
    const ids = [...binding.encode(tokenizer, text, true, false)].slice(0, 130);
    binding.tokenizerRelease(tokenizer);
    const references = kvTypes.map((kvType) => fingerprint(path, ids, 512, { threads: 1, kvType }));
    t.notSame(references[0], references[1]);
    for (const [i, kvType] of kvTypes.entries()) {
      t.equal(references[i]?.length, ids.length);
      for (const threads of [1, 2]) {
        for (const chunk of [1, 7, 64, 512]) {
          const message = `${kvType}, chunk ${chunk}, ${threads} threads`;
          t.same(fingerprint(path, ids, chunk, { threads, kvType }), references[i], message);
        }
      }
    }
  });
}
