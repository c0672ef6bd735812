/**
 * Clients in a closed loop: each sends its next request when it has the last token of the one before, through the public
 * interface, and reads every token as it comes.
 */
import type { Model } from "../../engine/index.js";
import { limits } from "../../limits.js";
import { randomIds } from "../tests.js";
import type { RequestTimes } from "./latency.js";

export interface ConcurrencyTest {
  clients: number;
  /** Tokens of a prompt that no other has. */
  nPrompt: number;
  nGen: number;
  /** Tokens in front of every prompt, the same for all. */
  sharedPrefix: number;
}

export interface ClientsRun {
  /** From the first submission to the last token. */
  ms: number;
  requests: RequestTimes[];
}

/** `c8 pp128 tg64`, `c8 pp128 tg64 prefix1024`. */
export function concurrencyName({ clients, nPrompt, nGen, sharedPrefix }: ConcurrencyTest): string {
  return `c${clients} pp${nPrompt} tg${nGen}${sharedPrefix > 0 ? ` prefix${sharedPrefix}` : ""}`;
}

/** Positions of a context that holds a request of each test, and sequences for the most clients. */
export function neededRoom(tests: readonly ConcurrencyTest[]): { contextSize: number; maxSequences: number } {
  const positions = tests.map(({ sharedPrefix, nPrompt, nGen }) => sharedPrefix + nPrompt + nGen);
  const clients = tests.map((test) => test.clients);
  return { contextSize: Math.max(...positions), maxSequences: Math.min(Math.max(...clients), limits.maxMaxSequences) };
}

/** Prompts of random ordinary tokens: the same in every process, no two of a process alike but for the shared prefix. */
export class PromptSource {
  private readonly vocabSize_: number;
  private next_ = 1;

  constructor(vocabSize: number) {
    this.vocabSize_ = vocabSize;
  }

  take({ sharedPrefix, nPrompt }: ConcurrencyTest): number[] {
    const own = randomIds(Math.imul(this.next_++, 0x85ebca6b), nPrompt, this.vocabSize_);
    return [...randomIds(0, sharedPrefix, this.vocabSize_), ...own];
  }
}

export interface ClientsOptions {
  prompts: PromptSource;
  /** Requests of each client, one after the other. */
  requests: number;
  signal: AbortSignal;
}

export async function runClients(model: Model, test: ConcurrencyTest, options: ClientsOptions): Promise<ClientsRun> {
  const { prompts, requests, signal } = options;
  const stop = new AbortController();
  const times: RequestTimes[] = [];
  const started = performance.now();
  const client = async () => {
    try {
      for (let i = 0; i < requests; i++)
        times.push(await timeRequest(model, prompts.take(test), test.nGen, AbortSignal.any([signal, stop.signal])));
    } catch (thrown) {
      stop.abort();
      throw thrown;
    }
  };
  const clients = Array.from({ length: test.clients }, client);
  await Promise.allSettled(clients);
  await Promise.all(clients);
  return { ms: Math.max(...times.map(({ arrivals }) => arrivals.at(-1) as number)) - started, requests: times };
}

/** Tokens that come in one part (a character that took several) share the time since the part before. */
async function timeRequest(model: Model, prompt: number[], maxTokens: number, signal: AbortSignal) {
  const submitted = performance.now();
  const arrivals: number[] = [];
  for await (const { tokens } of model.generate(prompt, { maxTokens, temperature: 0, ignoreEos: true, signal })) {
    const now = performance.now();
    const before = arrivals.at(-1) ?? now;
    tokens.forEach((_, i) => {
      arrivals.push(before + ((now - before) * (i + 1)) / tokens.length);
    });
  }
  return { submitted, arrivals };
}
