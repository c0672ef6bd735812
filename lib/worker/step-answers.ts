/** What a step's rows gave, handed to the requests they belong to: tokens, scores, hidden states, a prompt's progress. */
import { type LutraError, toLutraError } from "../errors.js";
import type { Scheduler, Sequence, Step, WantedRow } from "../scheduler/index.js";
import type { FinishReason } from "../types.js";
import { Embedding, hiddenStates } from "./embedding.js";
import { Generation } from "./generation.js";
import type { FromWorker } from "./protocol.js";
import { Scoring } from "./scoring.js";
import type { Verifier } from "./speculation/verifier.js";
import type { Work } from "./work.js";

export interface LiveRequest {
  id: number;
  slot: number;
  sequence: Sequence;
  work: Work;
}

/** What the engine loop does with a request that got its answer. */
export interface AnswersOptions {
  scheduler: Scheduler;
  verifier: Verifier;
  /** Floats of a hidden state. */
  dim: number;
  requestOf: (sequence: Sequence) => LiveRequest | undefined;
  enqueue: (id: number, slot: number, work: Work) => void;
  pace: (request: LiveRequest) => void;
  finish: (request: LiveRequest, work: Generation, reason: FinishReason) => void;
  forget: (request: LiveRequest) => void;
  fail: (id: number, error: LutraError) => void;
  post: (message: FromWorker) => void;
}

export class StepAnswers {
  constructor(private readonly loop_: AnswersOptions) {}

  /** The step has run and is committed. */
  give(step: Step): void {
    this.reportPrompts(step);
    if (step.shape.rows > step.decodeRows) this.advanceEmbeddings(step);
    for (let w = 0; w < step.wanted.length; w++) {
      const wanted = step.wanted[w] as WantedRow;
      const { sequence, draft } = wanted;
      const request = this.loop_.requestOf(sequence);
      if (request === undefined || draft > 0) continue;
      if (request.work instanceof Scoring) this.advanceScoring(request, request.work, w, wanted);
      else if (request.work instanceof Generation) this.advance(request, request.work, step, w);
    }
  }

  private advance(request: LiveRequest, work: Generation, step: Step, first: number): void {
    try {
      const end = this.loop_.verifier.verify(request.sequence, work, step, first);
      if (end === null) this.loop_.pace(request);
      else this.loop_.finish(request, work, end);
    } catch (thrown) {
      this.loop_.fail(request.id, toLutraError(thrown));
    }
  }

  private advanceScoring(request: LiveRequest, work: Scoring, w: number, { position, row }: WantedRow): void {
    const { arrays } = this.loop_.scheduler;
    try {
      work.accept(arrays.targetLogits[w] as number, arrays.logSumExp[w] as number);
      work.attention.add(arrays, row);
      work.sparsity.add(arrays, row);
      if (position < request.sequence.length - 2) return;
      this.loop_.forget(request);
      if (++work.window < work.windows.length) this.loop_.enqueue(request.id, request.slot, work);
      else this.loop_.post({ type: "scored", id: request.id, summary: work.summary() });
    } catch (thrown) {
      this.loop_.fail(request.id, toLutraError(thrown));
    }
  }

  private advanceEmbeddings(step: Step): void {
    for (const { sequence, states, position } of hiddenStates(
      step,
      this.loop_.scheduler.arrays.hidden,
      this.loop_.dim,
    )) {
      const request = this.loop_.requestOf(sequence);
      if (!(request?.work instanceof Embedding)) continue;
      try {
        if (!request.work.add(states, position)) continue;
        const reply = request.work.result();
        this.loop_.forget(request);
        this.loop_.post(reply);
      } catch (thrown) {
        this.loop_.fail(request.id, toLutraError(thrown));
      }
    }
  }

  private reportPrompts(step: Step): void {
    for (const { sequence } of step.spans) {
      if (sequence.length > sequence.promptLength) continue;
      const request = this.loop_.requestOf(sequence);
      if (!(request?.work instanceof Generation) || !request.work.reportProgress) continue;
      const { computed: processedTokens, promptLength: totalTokens } = sequence;
      this.loop_.post({ type: "prompt-progress", id: request.id, processedTokens, totalTokens });
    }
  }
}
