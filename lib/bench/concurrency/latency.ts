/**
 * What requests cost their callers. Time to first token: from the submission to the first token. Time per output token
 * (TPOT): from the first token to the last ÷ the tokens after the first, one figure a request. Gap: between two
 * tokens of a request, so a stall shows that a mean would hide. Goodput: requests per second that keep both bounds (Zhong et al.,
 * DistServe, OSDI 2024, §2).
 */
export interface RequestTimes {
  /** Milliseconds of one clock: the submission, and the arrival of each token (two at least). */
  submitted: number;
  arrivals: readonly number[];
}

export interface Bounds {
  ttftMs: number;
  tpotMs: number;
}

export function timeToFirstToken({ submitted, arrivals }: RequestTimes): number {
  return (arrivals[0] as number) - submitted;
}

export function timePerOutputToken({ arrivals }: RequestTimes): number {
  return ((arrivals.at(-1) as number) - (arrivals[0] as number)) / (arrivals.length - 1);
}

export function gaps({ arrivals }: RequestTimes): number[] {
  return arrivals.slice(1).map((arrival, i) => arrival - (arrivals[i] as number));
}

/** The value below which this share of the values lies, interpolated between the two nearest ranks. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const rank = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(rank)], sorted[Math.ceil(rank)]] as [number, number];
  return low + (high - low) * (rank - Math.floor(rank));
}

/** Requests within both bounds. */
export function countGood(requests: readonly RequestTimes[], { ttftMs, tpotMs }: Bounds): number {
  return requests.filter((times) => timeToFirstToken(times) <= ttftMs && timePerOutputToken(times) <= tpotMs).length;
}
