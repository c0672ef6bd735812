/** What sampling needs of a request, every option resolved and in range. */
export interface SamplingParams {
  /** Tokens to generate at most; undefined: as many as the context holds. */
  maxTokens: number | undefined;
  /** 0: always the likeliest token. */
  temperature: number;
  /** 0: no cut. */
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repeatPenalty: number;
  /** Tokens the penalties look back on; -1: all. */
  repeatLastN: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** The seed in use, drawn at random when the caller gave none. */
  seed: number;
  stop: string[];
  biasIds: Int32Array;
  biasValues: Float32Array;
  /** Alternatives to report with each token's log-probability; -1: report nothing. */
  logprobs: number;
  parseSpecial: boolean;
  ignoreEos: boolean;
}

export const defaultSampling = {
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  typicalP: 1,
  repeatPenalty: 1,
  repeatLastN: 64,
  presencePenalty: 0,
  frequencyPenalty: 0,
} as const;
