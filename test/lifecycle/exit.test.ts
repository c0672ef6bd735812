// N4: process.exit, an uncaught exception, SIGTERM and worker.terminate() in the middle of a step, or of encoding a chat and a
// batch of texts, end as asked: no abort, no segmentation fault, no hang. LUTRA_TEST_EXITS sets the number of runs of each.
import { spawn } from "node:child_process";
import t from "tap";
import { compileChild } from "../support/compile-child.js";
import { slowTinyModel } from "../support/models.js";

const runs = Number(process.env.LUTRA_TEST_EXITS ?? 3);
function run(
  child: string,
  way: string,
  delay: number,
): Promise<{ code: number | null; signal: string | null; stderr: string; ms: number }> {
  const started = performance.now();
  const { NODE_OPTIONS: _, ...env } = process.env;
  const spawned = spawn(process.execPath, [child, slowTinyModel(), way, String(delay)], {
    stdio: ["ignore", "ignore", "pipe"],
    env,
  });
  let stderr = "";
  spawned.stderr.on("data", (data: Buffer) => {
    stderr += data.toString();
  });
  return new Promise((resolve) => {
    spawned.on("close", (code, signal) => resolve({ code, signal, stderr, ms: performance.now() - started }));
  });
}

const expected: Record<string, { code: number | null; signal: string | null }> = {
  exit: { code: 7, signal: null },
  throw: { code: 1, signal: null },
  sigterm: { code: null, signal: "SIGTERM" },
  terminate: { code: 7, signal: null },
  unref: { code: 0, signal: null },
  "exit-encoding": { code: 7, signal: null },
  "terminate-encoding": { code: 7, signal: null },
  "unref-encoding": { code: 0, signal: null },
};

for (const [way, { code, signal }] of Object.entries(expected)) {
  t.test(
    way.startsWith("unref") ? `${way}: an idle model that nobody disposed lets the process end` : way,
    async (t) => {
      const child = compileChild("exit-child.ts", t.testdir());
      for (let i = 0; i < runs; i++) {
        const delay = (i * 37) % 120;
        const outcome = await run(child, way, delay);
        t.same(
          { code: outcome.code, signal: outcome.signal },
          { code, signal },
          `after ${delay} ms: ${outcome.stderr.slice(0, 600)}`,
        );
        t.ok(outcome.ms < 10_000, "no hang");
      }
    },
  );
}
