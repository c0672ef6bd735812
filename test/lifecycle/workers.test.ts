// N5: the addon in eight workers that come and go, and under two paths: the answers agree, nothing native stays, memory is flat.
// LUTRA_TEST_WORKER_ROUNDS sets the rounds of eight.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { compileChild } from "../support/compile-child.js";
import { tinyModel } from "../support/models.js";

const rounds = Number(process.env.LUTRA_TEST_WORKER_ROUNDS ?? 20);
const limitBytes = 5 << 20;

t.test(`${rounds} rounds of eight workers`, async (t) => {
  const folder = t.testdir();
  const child = compileChild("workers-child.ts", folder);
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [child, tinyModel(), String(rounds), join(folder, "second.node")],
    { env },
  );
  const { answers, rss, apart, counters } = JSON.parse(stdout);
  t.equal(answers.length, 1, "one answer everywhere");
  t.equal(apart, true, "two paths are two libraries");
  t.same(counters, { models: 0, tokenizers: 0, engines: 0, bytes: 0 });
  const half = Math.floor(rounds / 2);
  const peak = (values: number[]) => Math.max(...values);
  const growth = peak(rss.slice(half)) - peak(rss.slice(0, half));
  t.comment(`resident size grew by ${(growth / 2 ** 20).toFixed(1)} MiB in the second half`);
  t.ok(growth < limitBytes, `${growth} bytes`);
});
