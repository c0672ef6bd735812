/** Figures of repeated measurements. */

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, extremes, and their distance as a share of the median. */
export function summarize(samples) {
  const [low, mid, high] = [Math.min(...samples), median(samples), Math.max(...samples)];
  return { median: mid, min: low, max: high, spread: (high - low) / mid, samples };
}
