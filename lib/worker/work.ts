/** What a request asks the engine to do: made from its message, and what sequence the scheduler has to run for it. */
import type { SequenceRequest } from "../scheduler/index.js";
import { Embedding } from "./embedding.js";
import { Generation, type TextSource } from "./generation.js";
import { checkLength, encodePrompt } from "./prompt.js";
import type { FromWorker, ToWorker } from "./protocol.js";
import { cutPrompt, Scoring } from "./scoring.js";

/** The K/V of a history is asked for: it goes out when all of it is in the cache. */
export class Export {
  constructor(
    readonly tokens: Int32Array,
    readonly namespace: number,
  ) {}
}

export type Work = Generation | Scoring | Embedding | Export;

export type WorkMessage = Extract<ToWorker, { type: "generate" | "score" | "embed" | "export" }>;

export interface WorkOptions {
  source: TextSource;
  contextSize: number;
  /** Floats of a hidden state. */
  dim: number;
  post: (message: FromWorker) => void;
  /** Whether somebody takes the request's parts one by one. */
  isRead: () => boolean;
}

/** @throws InvalidOptionError, ContextOverflowError */
export function createWork(message: WorkMessage, options: WorkOptions): Work {
  const { source, contextSize, dim, post, isRead } = options;
  switch (message.type) {
    case "export":
      return new Export(checkLength("session", message.tokens, contextSize), message.namespace);
    case "score":
      return createScoring(message, options);
    case "embed": {
      const tokens = checkLength("prompt", encodePrompt(message.prompt, source), contextSize);
      return new Embedding(message.id, tokens, { ...message, dim });
    }
    case "generate": {
      const tokens = checkLength("prompt", encodePrompt(message.prompt, source), contextSize);
      return new Generation(message.id, tokens, { ...message, isRead }, source, post);
    }
  }
}

export function sequenceFor(work: Work, contextSize: number): Omit<SequenceRequest, "id" | "abortIndex"> {
  if (work instanceof Generation) {
    const { prompt, place, params } = work;
    return { ...place, prompt, maxPositions: prompt.length + (params.maxTokens ?? contextSize) };
  }
  if (work instanceof Export) {
    const { tokens: prompt, namespace } = work;
    return { prompt, namespace, maxPositions: prompt.length, wanted: "none" };
  }
  if (work instanceof Embedding) {
    const { prompt, hidden } = work;
    return { prompt, maxPositions: prompt.length, wanted: hidden === "all" ? "states" : "last-state" };
  }
  const prompt = work.windows[work.window] as Int32Array;
  return { prompt, maxPositions: prompt.length, wanted: "targets" };
}

function createScoring(message: Extract<ToWorker, { type: "score" }>, options: WorkOptions): Scoring {
  const size = Math.min(message.contextSize || options.contextSize, options.contextSize);
  const { tokens, windows } = cutPrompt(message.prompt, size, options.source);
  return new Scoring(message.id, tokens, windows);
}
