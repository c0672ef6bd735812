/** perplexity(): posts a scoring request and waits for it. */
import { createError } from "../errors.js";
import type { ModelInfo, PerplexityOptions, PerplexityResult } from "../types.js";
import { readOptions } from "../sampling/index.js";
import { checkInteger, checkSignal } from "./load-options.js";
import type { Replicas } from "./replicas.js";
import { checkPrompt } from "./request-options.js";

export async function scorePerplexity(
  engines: Replicas,
  text: string | ArrayLike<number>,
  options: PerplexityOptions | undefined,
  info: ModelInfo,
): Promise<PerplexityResult> {
  const given = readOptions(options, ["contextSize", "signal"]);
  const contextSize = checkInteger("contextSize", given["contextSize"], 2, info.contextSize) ?? info.contextSize;
  const signal = checkSignal(given["signal"]);
  const prompt = checkPrompt("text", text, info.vocabSize, false);
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
            resolve({ ppl: Math.exp(nll), tokens, scored, nll, logprobs, ms });
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
