// No leak over load+generate+dispose cycles, nor over requests on one model: the slope of the resident size after a warm-up.
// A load starts a thread, so few cycles run by default; LUTRA_TEST_CYCLES=1000 measures their slope too.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { loadModel } from "../../dist/esm/index.js";
import { tinyModel } from "../support/models.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const cycles = Number(process.env.LUTRA_TEST_CYCLES ?? 40);
const requests = Math.max(6000, cycles);
const limitBytes = 2048;

/** Least-squares slope, in bytes a cycle. */
function slope(samples: [cycle: number, bytes: number][]): number {
  const n = samples.length;
  const meanX = samples.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = samples.reduce((sum, [, y]) => sum + y, 0) / n;
  const top = samples.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return top / samples.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

async function measure(total: number, cycle: () => Promise<unknown>): Promise<number> {
  const samples: [number, number][] = [];
  for (let i = 0; i < total; i++) {
    await cycle();
    if (i < total / 2 || i % Math.ceil(total / 100) !== 0) continue;
    collect();
    await new Promise((resolve) => setImmediate(resolve));
    samples.push([i, process.memoryUsage.rss()]);
  }
  return slope(samples);
}

t.test("requests on one model", async (t) => {
  const model = await loadModel(tinyModel(), { threads: 1 });
  const perCycle = await measure(requests, () => model.generate("a b c", { maxTokens: 2, ignoreEos: true }).then());
  t.ok(perCycle < limitBytes, `${perCycle.toFixed(0)} bytes a request over ${requests}`);
  await model.dispose();
});

t.test("load, generate, dispose", async (t) => {
  const before = binding.counters();
  const perCycle = await measure(cycles, async () => {
    const model = await loadModel(tinyModel(), { threads: 1 });
    await model.generate("a b c", { maxTokens: 2, ignoreEos: true });
    await model.dispose();
  });
  t.comment(`${perCycle.toFixed(0)} bytes a cycle over ${cycles}`);
  if (cycles >= 1000) t.ok(perCycle < limitBytes, `${perCycle.toFixed(0)} bytes a cycle`);
  t.same(binding.counters(), before, "no native object is left");
});
