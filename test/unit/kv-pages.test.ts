// K/V pages that move: decoding goes on bit for bit, wrong arguments are refused, and nothing happens beside a step.
import { Worker } from "node:worker_threads";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { slowTinyModel, tinyModel } from "../support/models.js";
import { NativeSession } from "../support/native-session.js";
import { checkPageMoves } from "../support/page-moves.js";

for (const architecture of ["llama", "gemma3"] as const) {
  for (const kvType of ["f16", "q8_0"] as const) {
    t.test(`${architecture}, ${kvType}`, (t) => {
      // The window of the sliding layers ends inside the pages that move.
      const path = tinyModel({ architecture, headDim: 40, slidingWindow: 48 });
      const ids = Array.from({ length: 310 }, (_, i) => (i * 7) % 64);
      for (const prompt of [290, 288, 31]) checkPageMoves(t, { path, kvType, ids, prompt });
      t.end();
    });
  }
}

t.test("wrong arguments are refused by name", (t) => {
  const session = new NativeSession(tinyModel(), { maxPositions: 64 });
  const { engine } = session;
  const { pageBytes, kvBytes } = binding.engineInfo(engine);
  t.equal(kvBytes, 2 * pageBytes);
  const one = Int32Array.of(1);
  const bytes = new Uint8Array(pageBytes);
  const refused = (call: () => void, message: RegExp): void => {
    t.throws(call, { name: "InvalidOptionError", code: "INVALID_OPTION", message });
  };
  refused(() => binding.engineCopyPages(engine, Int32Array.of(0, 2)), /pairs\[1\]: expected a page below 2, got 2/);
  refused(() => binding.engineCopyPages(engine, Int32Array.of(-1, 0)), /pairs\[0\]/);
  refused(() => binding.engineCopyPages(engine, one), /pairs: expected an even number/);
  refused(() => binding.engineReadPages(engine, Int32Array.of(7), 32, bytes), /pages\[0\]/);
  refused(() => binding.engineReadPages(engine, one, 33, bytes), /positions/);
  refused(() => binding.engineReadPages(engine, one, 32, bytes.subarray(1)), /out: expected \d+ bytes a page/);
  refused(() => binding.engineWritePages(engine, Int32Array.of(2), bytes), /pages\[0\]/);
  refused(() => binding.engineWritePages(engine, one, new Uint8Array(pageBytes + 1)), /bytes: expected/);
  const wrongType = (call: () => void, message: RegExp): void => {
    t.throws(call, { name: "TypeError", message });
  };
  wrongType(() => binding.engineCopyPages(engine, [0, 1] as never), /pairs: expected an Int32Array/);
  wrongType(() => binding.engineReadPages(engine, one, -1, bytes), /positions/);
  wrongType(() => binding.engineReadPages(engine, one, 32, new Float32Array(8) as never), /out: expected a Uint8Array/);
  wrongType(() => binding.engineWritePages(engine, one, undefined as never), /bytes/);
  session.dispose();
  t.throws(() => binding.engineCopyPages(engine, new Int32Array(0)), { code: "DISPOSED" });
  t.end();
});

t.test("not while a step runs", async (t) => {
  const model = binding.modelAcquire(slowTinyModel(), 1, new Int32Array(1));
  const options = { threads: 1, maxRows: 2048, maxWanted: 1, pages: 64, isa: "scalar" as const };
  const engine = binding.engineCreate(model, options);
  const aborts = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(
    `import("${new URL("../../dist/esm/binding/index.js", import.meta.url).href}").then(({ binding }) => {
      const { parentPort, workerData: { engine, aborts } } = require("node:worker_threads");
      const rows = 2048;
      const ints = (n, of = () => 0) => Int32Array.from({ length: n }, (_, i) => of(i));
      const arrays = { tokens: ints(rows, (i) => i % 64), positions: ints(rows, (i) => i), sequences: ints(rows),
        wants: new Uint8Array(rows), targets: ints(rows, () => -1), pageTables: ints(64, (i) => i), biasOffsets: ints(1), mirrorRows: ints(0), mirrorPages: ints(0),
        biasIds: ints(0), biasDivides: new Float32Array(0), biasAdds: new Float32Array(0), candidateIds: ints(1),
        candidateLogits: new Float32Array(1), logSumExp: new Float32Array(1), targetLogits: new Float32Array(1), aborts,
        hidden: new Float32Array(0), sequenceAborts: ints(1) };
      parentPort.postMessage("starts");
      for (let code = ""; code !== "ABORTED"; ) {
        try {
          binding.engineStep(engine, { rows, sequences: 1, pageStride: 64, k: 1, mirrors: 0 }, arrays);
          code = "ran";
        } catch (error) {
          // The main thread was copying just then.
          code = /running/.test(error.message) ? "BUSY" : error.code;
        }
        if (code === "INVALID_OPTION") throw new Error("the step was refused");
        if (code !== "BUSY") parentPort.postMessage(code);
      }
    });`,
    { eval: true, workerData: { engine, aborts } },
  );
  const messages: string[] = [];
  const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const started = new Promise<void>((resolve) =>
    worker.on("message", (message: string) => {
      messages.push(message);
      resolve();
    }),
  );
  await started;
  const pair = Int32Array.of(0, 1);
  const page = Int32Array.of(0);
  const out = new Uint8Array(binding.engineInfo(engine).pageBytes);
  const deadline = performance.now() + 60_000;
  for (const [name, call] of Object.entries({
    copy: () => binding.engineCopyPages(engine, pair),
    read: () => binding.engineReadPages(engine, page, 32, out),
    write: () => binding.engineWritePages(engine, page, out),
  })) {
    let refusal: unknown;
    while (refusal === undefined && performance.now() < deadline) {
      try {
        call();
        // Leave the engine to the step for a while.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
      } catch (thrown) {
        refusal = thrown;
      }
    }
    t.match(refusal, { code: "INVALID_OPTION", message: /a step is running/ }, name);
  }
  Atomics.store(aborts, 0, 1);
  await ended;
  t.equal(messages.at(-1), "ABORTED");
  binding.engineCopyPages(engine, pair);
  binding.engineRelease(engine);
  binding.modelRelease(model);
});
