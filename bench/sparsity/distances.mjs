/** Figures of tokens that an engine predicted beside an exact one. */

/** Rows as they come, then what they say. Entries are as engineCompareLogits gives them. */
export class Distances {
  constructor() {
    this.kl = [];
    this.logprobs = [];
    this.exactLogprobs = [];
    this.agreed = 0;
    this.kept = [];
    this.dense = 0;
  }

  /** `distances` [4 × rows]; the step's arrays say which rows were sparse. */
  add(distances, { sparseKept, sparseState }) {
    for (let row = 0; row < distances.length / 4; row++) {
      const [kl, logprob, exactLogprob, agrees] = distances.subarray(4 * row, 4 * row + 4);
      if (!Number.isFinite(kl)) throw new Error(`logits are not finite at row ${this.kl.length}`);
      this.kl.push(kl);
      this.logprobs.push(logprob);
      this.exactLogprobs.push(exactLogprob);
      this.agreed += agrees;
      if (sparseState[row] === 1) this.kept.push(sparseKept[row]);
      else this.dense++;
    }
  }

  /** Of rows [from, to). `deltaPplError`: standard error, from the tokens' own differences. */
  summary(from = 0, to = this.kl.length) {
    const kl = this.kl.slice(from, to);
    const differences = this.logprobs.slice(from, to).map((logprob, i) => this.exactLogprobs[from + i] - logprob);
    const shift = moments(differences);
    const exactPpl = Math.exp(-moments(this.exactLogprobs.slice(from, to)).mean);
    const ratio = Math.exp(shift.mean);
    return {
      scored: kl.length,
      exactPpl,
      ppl: exactPpl * ratio,
      deltaPpl: ratio - 1,
      deltaPplError: (ratio * shift.sigma) / Math.sqrt(kl.length),
      klMean: moments(kl).mean,
      klP99: quantile(kl, 0.99),
    };
  }

  /** Of all rows: which share had the same first choice, and what the sparse ones kept. */
  whole() {
    const { mean, sigma } = moments(this.kept);
    const kept = this.kept.length === 0 ? null : { mean, sigma };
    return { ...this.summary(), top1Agreement: this.agreed / this.kl.length, kept, denseRows: this.dense };
  }
}

export function moments(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return { mean, sigma: Math.sqrt(variance) };
}

/** The least of the values that this share of them does not exceed. */
function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.ceil(share * sorted.length) - 1];
}
