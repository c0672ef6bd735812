/** A result in the shape of `lutra generate --json`. */
import type { GenerateResult } from "../types.js";
import { sparsityDocument } from "./sparsity-document.js";

export function toDocument({
  text,
  tokens,
  finishReason,
  usage,
  timings,
  speculation,
  attention,
  sparsity,
  logprobs,
}: GenerateResult) {
  return {
    text,
    tokens,
    finish_reason: finishReason,
    usage: {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
    },
    timings: {
      load_ms: timings.loadMs,
      prompt_ms: timings.promptMs,
      prompt_per_second: timings.promptPerSecond,
      predicted_ms: timings.predictedMs,
      predicted_per_second: timings.predictedPerSecond,
      approximations: timings.approximations,
    },
    speculation: {
      steps: speculation.steps,
      drafted: speculation.drafted,
      accepted: speculation.accepted,
      mean_accepted: speculation.meanAccepted,
      per_drafter: speculation.perDrafter,
      widths: speculation.widths,
    },
    ...(attention && { attention }),
    ...sparsityDocument(sparsity),
    ...(logprobs && logprobs.length > 0 && { logprobs }),
  };
}
