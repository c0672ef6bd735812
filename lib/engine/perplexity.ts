/** perplexity(): posts a scoring request and waits for it, or has the model compared with its exact self. */
import { createError, invalidOption } from "../errors.js";
import type { ModelInfo, PerplexityOptions, PerplexityResult } from "../types.js";
import { readOptions } from "../sampling/index.js";
import type { PromptInput, ScoreSummary } from "../worker/index.js";
import { describeApproximations } from "./attention/report.js";
import { summarizeComparison } from "./comparison-result.js";
import { checkInteger, checkSignal } from "./load-options.js";
import { describeMatmul } from "./matmul/option.js";
import { describeSparsity } from "./sparsity/report.js";
import type { Replicas } from "./replicas.js";
import { checkPrompt } from "./request-options.js";

interface PerplexityCall {
  prompt: PromptInput;
  contextSize: number;
  /** Undefined: nothing is compared. */
  exactTokens: number | undefined;
  signal: AbortSignal | undefined;
}

export async function scorePerplexity(
  engines: Replicas,
  text: string | ArrayLike<number>,
  options: PerplexityOptions | undefined,
  info: ModelInfo,
): Promise<PerplexityResult> {
  const call = resolveCall(text, options, info);
  const { exactTokens } = call;
  return exactTokens === undefined
    ? await score(engines, call, info)
    : await compare(engines, { ...call, exactTokens }, info);
}

function resolveCall(
  text: string | ArrayLike<number>,
  options: PerplexityOptions | undefined,
  info: ModelInfo,
): PerplexityCall {
  const given = readOptions(options, ["contextSize", "against", "exactTokens", "signal"]);
  const contextSize = checkInteger("contextSize", given["contextSize"], 2, info.contextSize) ?? info.contextSize;
  const { against } = given;
  if (against !== undefined && against !== "exact") throw invalidOption("against", '"exact"', against);
  const exactTokens = checkInteger("exactTokens", given["exactTokens"], 0, contextSize - 2);
  if (exactTokens !== undefined && against === undefined)
    throw createError("INVALID_OPTION", 'exactTokens: expected it with against: "exact"');
  return {
    prompt: checkPrompt("text", text, info.vocabSize, false),
    contextSize,
    exactTokens: against === undefined ? undefined : (exactTokens ?? 0),
    signal: checkSignal(given["signal"]),
  };
}

async function score(
  engines: Replicas,
  { prompt, contextSize, signal }: PerplexityCall,
  info: ModelInfo,
): Promise<PerplexityResult> {
  const aborted = (): Error =>
    createError("ABORTED", "the request was aborted by its signal", { cause: signal?.reason });
  if (signal?.aborted) throw aborted();
  let onAbort: (() => void) | undefined;
  try {
    return await new Promise<PerplexityResult>((resolve, reject) => {
      const handle = engines.submit(
        { type: "score", prompt, contextSize },
        {
          onMessage: (message) => {
            if (message.type !== "scored") return;
            const { tokens, scored, nll, ms, logprobs } = message.summary;
            resolve({ ppl: Math.exp(nll), tokens, scored, nll, logprobs, ms, ...describe(info, message.summary) });
          },
          onFailure: (error) => reject(error.code === "ABORTED" && signal?.aborted ? aborted() : error),
        },
      );
      onAbort = () => handle.abort();
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  } finally {
    if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
  }
}

async function compare(
  engines: Replicas,
  { prompt, contextSize, exactTokens, signal }: PerplexityCall & { exactTokens: number },
  info: ModelInfo,
): Promise<PerplexityResult> {
  const { tokens, rows, ms } = await engines.comparisons.run({ prompt, contextSize, exactTokens }, signal);
  const { logprobs } = rows;
  const scored = logprobs.length;
  const nll = -logprobs.reduce((sum, logprob) => sum + logprob, 0) / scored;
  const against = summarizeComparison(rows);
  return { ppl: Math.exp(nll), tokens, scored, nll, logprobs, ms, ...describe(info, against), against };
}

/** What was approximated, as results say it. */
function describe(
  info: ModelInfo,
  { attention, sparsity }: Partial<Pick<ScoreSummary, "attention" | "sparsity">>,
): Pick<PerplexityResult, "approximations" | "sparsity"> {
  const approximations = [
    ...describeMatmul(info.matmul),
    ...describeApproximations(info.attention, attention),
    ...describeSparsity(info.ffnSparsity, sparsity),
  ];
  return { approximations, ...(sparsity && { sparsity }) };
}
