// What steps of so many rows take: learnt from steps, with attention's part apart, and never falling.
import t from "tap";
import { StepCurve } from "../../dist/esm/scheduler/step-curve.js";
import { seeded } from "../support/seeded.js";

const real = (rows: number) => 3 + (rows <= 4 ? 0.4 * (rows - 1) : 1.2 + 1.1 * (rows - 4));

t.test("unknown, then a line through what is known", (t) => {
  const curve = new StepCurve(16);
  t.notOk(curve.known);
  t.ok(curve.time(4) > curve.time(1), "a guess until then");
  curve.observe(2, 10, 0);
  t.ok(curve.known);
  t.ok(Math.abs(curve.time(2) - 10) < 0.5);
  curve.observe(6, 18, 0);
  t.ok(Math.abs(curve.time(4) - 14) < 0.5, "between");
  t.ok(curve.time(8) > curve.time(6), "beyond");
  t.end();
});

t.test("noisy steps, now and then interrupted, at depths: the ratios come out", (t) => {
  const random = seeded(3);
  const curve = new StepCurve(16);
  const attention = 0.001;
  curve.observeDepth(2000, 2000 * attention);
  for (let i = 0; i < 4000; i++) {
    const rows = 1 + random(8);
    const depth = random(3000);
    const noise = 0.9 + random(200) / 1000;
    const interrupted = random(50) === 0 ? 5 : 1;
    curve.observe(rows, (real(rows) + attention * rows * depth) * noise * interrupted, rows * depth);
  }
  for (let rows = 2; rows <= 8; rows++) {
    const [found, expected] = [curve.time(rows) / curve.time(1), real(rows) / real(1)];
    t.ok(Math.abs(found / expected - 1) < 0.12, `${rows} rows: ${found.toFixed(2)} of ${expected.toFixed(2)}`);
    t.ok(curve.time(rows) >= curve.time(rows - 1));
    t.ok(Math.abs(curve.time(rows, 1000) - curve.time(rows) - rows) < 1e-9, "attention");
  }
  t.end();
});

t.test("a bad measurement is forgotten, though nobody tries that width again", (t) => {
  const curve = new StepCurve(16);
  curve.observe(1, 4, 0);
  curve.observe(2, 40, 0);
  t.ok(curve.time(2) > 8 * curve.time(1));
  for (let i = 0; i < 2000; i++) curve.observe(1, 4, 0);
  t.ok(curve.time(2) < 1.3 * curve.time(1));
  t.end();
});
