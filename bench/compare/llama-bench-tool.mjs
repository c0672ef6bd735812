/**
 * llama.cpp's own measuring programs as one engine under measurement: llama-bench for single sequences, batched-bench
 * for several. Each measurement is a process of its own, so nothing of it runs while the other engine works.
 *
 * Flash attention changes its speed either way, by test: the round that does not count tries both, and the faster one is
 * used from then on.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
/** From here on the work itself takes half a minute, and a warm-up of the same length would change nothing but that. */
const longTokens = 4096;
const outputBytes = 64 << 20;

export class LlamaBenchTool {
  /** What it said of itself: set by the first measurement of llama-bench. */
  build = null;
  /** Test name → "on" or "off". */
  flashAttention = {};

  constructor({ llamaBench, batchedBench, path, threads }) {
    Object.assign(this, { llamaBench, batchedBench, path, threads: String(threads) });
  }

  /** @param test kind, n, depth, batch; `together`: by batched-bench, whatever the batch */
  async measure(test, name) {
    if (this.flashAttention[name] !== undefined) return this.once(test, this.flashAttention[name]);
    const [off, on] = [await this.once(test, "off"), await this.once(test, "on")];
    this.flashAttention[name] = on.ms < off.ms ? "on" : "off";
    return on.ms < off.ms ? on : off;
  }

  once(test, flashAttention) {
    return test.together ? this.runBatched(test, flashAttention) : this.runSingle(test, flashAttention);
  }

  async runSingle({ kind, n, depth }, flashAttention) {
    const lengths = kind === "pp" ? ["-p", String(n), "-n", "0"] : ["-p", "0", "-n", String(n)];
    const flags = ["-m", this.path, "-t", this.threads, ...lengths, "-d", String(depth), "-fa", flashAttention];
    if (n + depth >= longTokens) flags.push("--no-warmup");
    const { stdout } = await run(this.llamaBench, [...flags, "-r", "1", "-o", "json"], { maxBuffer: outputBytes });
    const [row] = JSON.parse(stdout);
    this.build = `${row.build_number} (${row.build_commit})`;
    return { tokens: n, ms: row.avg_ns / 1e6, steps: null };
  }

  /** Every sequence has a prompt of its own of `depth` tokens; only the generation counts. */
  async runBatched({ n, depth, batch }, flashAttention) {
    const lengths = ["-npp", String(depth), "-ntg", String(n), "-npl", String(batch)];
    const context = String(Math.max(512, batch * (depth + n)));
    const flags = ["-m", this.path, "-t", this.threads, "-c", context, ...lengths, "-fa", flashAttention];
    const output = await run(this.batchedBench, [...flags, "--output-format", "jsonl"], { maxBuffer: outputBytes });
    const line = output.stdout.split("\n").find((text) => text.startsWith("{"));
    if (line === undefined) throw new Error(`batched-bench printed no row: ${output.stderr.slice(-500)}`);
    const row = JSON.parse(line);
    return { tokens: row.pl * row.tg, ms: row.t_tg * 1000, steps: null };
  }
}
