/**
 * One perplexity request in the worker. The text is cut into windows that do not overlap, each an independent sequence;
 * the first token of a window is given, every other token is scored once.
 */
import { createError } from "../errors.js";
import { AttentionTally } from "./attention/tally.js";
import { checkLength, type Encoder, encodePrompt } from "./prompt.js";
import type { PromptInput, ScoreSummary } from "./protocol.js";
import { SparsityTally } from "./sparsity/tally.js";

export class Scoring {
  readonly id: number;
  readonly windows: Int32Array[];
  window = 0;
  readonly attention = new AttentionTally();
  readonly sparsity = new SparsityTally();
  private readonly tokens_: number;
  private readonly logprobs_: number[] = [];
  private readonly startMs_ = performance.now();

  constructor(id: number, tokens: Int32Array, windows: Int32Array[]) {
    this.id = id;
    this.tokens_ = tokens.length;
    this.windows = windows;
  }

  /** @throws E_NONFINITE */
  accept(targetLogit: number, logSumExp: number): void {
    const logprob = targetLogit - logSumExp;
    if (!Number.isFinite(logprob)) {
      const found = `target logit ${targetLogit}, log-sum-exp ${logSumExp}`;
      throw createError("E_NONFINITE", `the text cannot be scored: logits are not finite (${found})`);
    }
    this.logprobs_.push(logprob);
  }

  summary(): ScoreSummary {
    const logprobs = Float64Array.from(this.logprobs_);
    let sum = 0;
    for (const logprob of logprobs) sum -= logprob;
    const scored = logprobs.length;
    const ms = performance.now() - this.startMs_;
    const { attention, sparsity } = this;
    const tallies = { attention: attention.summary(), sparsity: sparsity.summary() };
    return { tokens: this.tokens_, scored, nll: sum / scored, ms, logprobs, ...tallies };
  }
}

/** A text in windows; token ids are one. @throws InvalidOptionError, ContextOverflowError */
export function cutPrompt(
  prompt: PromptInput,
  size: number,
  source: Encoder,
): { tokens: Int32Array; windows: Int32Array[] } {
  const tokens = encodePrompt(prompt, source);
  if (tokens.length < 2)
    throw createError("INVALID_OPTION", `text: expected at least 2 tokens to score, got ${tokens.length}`);
  if (prompt.kind === "tokens") checkLength("prompt", tokens, size);
  return { tokens, windows: cutWindows(tokens, size, source.vocab.addBos ? source.vocab.bos : -1) };
}

/** Windows of at most `size` tokens; with `bos` ≥ 0 every window after the first starts with it too. */
function cutWindows(tokens: Int32Array, size: number, bos: number): Int32Array[] {
  const windows: Int32Array[] = [tokens.slice(0, size)];
  const lead = bos >= 0 ? 1 : 0;
  for (let from = size; from < tokens.length; from += size - lead) {
    const part = tokens.subarray(from, from + size - lead);
    if (part.length + lead < 2) break;
    const window = new Int32Array(part.length + lead);
    if (lead) window[0] = bos;
    window.set(part, lead);
    windows.push(window);
  }
  return windows;
}
