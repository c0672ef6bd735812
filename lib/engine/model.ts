/** A loaded model: every method of the public interface that works on one. */
import { checkKwargs, checkMessages, missingTemplate } from "../chat/index.js";
import { createError, invalidOption, type LutraError, toLutraError } from "../errors.js";
import { readOptions } from "../sampling/index.js";
import { header } from "../worker/index.js";
import type {
  ChatMessage,
  ChatOptions,
  EmbedInput,
  EmbedOptions,
  EmbedResult,
  GenerateOptions,
  MemoryEstimate,
  ModelInfo,
  ModelMetrics,
  PerplexityOptions,
  PerplexityResult,
  SessionOptions,
  TokenizeBatchOptions,
  TokenizeOptions,
} from "../types.js";
import type { FileStamp } from "../files/index.js";
import type { FromWorker, GenerateSummary, OperatorTimes, SparsityTotals } from "../worker/index.js";
import { GenerateResultStream } from "./generate-result.js";
import { embedTexts } from "./embed.js";
import { checkFlag } from "./load-options.js";
import { type InfoOptions, modelInfo } from "./model-info.js";
import { scorePerplexity } from "./perplexity.js";
import type { ChatPrompt, Replicas } from "./replicas.js";
import {
  type ChatCall,
  checkPrompt,
  checkTexts,
  checkTokenIds,
  type PreparedRequest,
  resolveChatCall,
  resolveEncodeCall,
  resolveGenerateCall,
} from "./request-options.js";
import { createSession, openSession, type Session, type SessionHost } from "./session.js";

export interface ModelOptions extends InfoOptions {
  fileStamp: FileStamp | null;
}

/** A model nobody holds is stopped, as dispose() would; its running requests hold it. */
const abandoned = new FinalizationRegistry<Replicas>((engines) => {
  void engines.stop(disposedError());
});

export class Model {
  readonly info: ModelInfo;
  private readonly engines_: Replicas;
  private readonly fileStamp_: FileStamp | null;
  private readonly attentionFallbacks_: number;
  private readonly counts_ = { requests: 0, completed: 0, aborted: 0, failed: 0, promptTokens: 0, completionTokens: 0 };
  private disposed_: Promise<void> | undefined;

  /** @internal */
  constructor(engines: Replicas, options: ModelOptions) {
    this.engines_ = engines;
    this.info = modelInfo(engines.loaded, { ...options, replicas: engines.size });
    this.fileStamp_ = options.fileStamp;
    this.attentionFallbacks_ = options.attention.fallbacks;
    abandoned.register(this, engines, this);
  }

  /**
   * Completes a prompt: text, or token ids. Text gets the vocabulary's own special tokens in front. Every failure, a wrong
   * option too, comes through the result; the rules of aborting and slow readers are in GenerateResultStream.
   */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): GenerateResultStream {
    return this.run(() => {
      const call = resolveGenerateCall(options, this.info.vocabSize);
      return { call, prompt: checkPrompt("prompt", prompt, this.info.vocabSize, call.params.parseSpecial) };
    });
  }

  /**
   * Answers a conversation, rendered by the model's chat template, off this thread. Control tokens spelled in a content
   * stay text.
   */
  chat(messages: ChatMessage[], options?: ChatOptions): GenerateResultStream {
    return this.run(() => {
      const call = resolveChatCall(options, this.info.vocabSize);
      return { call, prompt: this.chatPrompt(messages, call) };
    });
  }

  /** A history that grows with every request and can be saved. @throws InvalidOptionError */
  session(options?: SessionOptions): Session {
    this.checkAlive();
    return createSession(this.host(), options);
  }

  /**
   * The session that save() wrote, ready to go on without reading its history again. Everything in the file is checked
   * before any of it reaches the engine, and its K/V answers for this session alone.
   * @throws SessionFileError, ContextOverflowError, InvalidOptionError, ModelFileError (MODEL_CHANGED)
   */
  async loadSession(file: string): Promise<Session> {
    this.checkAlive();
    // Awaited here: a suspended method holds its model, so nobody collects it meanwhile.
    return await openSession(this.host(), file);
  }

  /** Token ids of a text, encoded on this thread. */
  tokenize(text: string, options?: TokenizeOptions): number[] {
    this.checkAlive();
    if (typeof text !== "string") throw invalidOption("text", "a string", text);
    return Array.from(this.engines_.text.encode(text, resolveEncodeCall(options, ["addSpecial", "parseSpecial"])));
  }

  /**
   * Token ids of many texts, in their order, encoded off this thread. An error names the text: `texts[3]: …`.
   * @throws InvalidOptionError, AbortedError, QueueFullError, DisposedError, WorkerLostError
   */
  async tokenizeBatch(texts: readonly string[], options?: TokenizeBatchOptions): Promise<Int32Array[]> {
    this.checkAlive();
    const { signal, ...flags } = resolveEncodeCall(options, ["addSpecial", "parseSpecial", "signal"]);
    // Awaited here: a suspended method holds its model, so nobody collects it meanwhile.
    return await this.engines_.text.encodeBatch(checkTexts("texts", texts), flags, signal);
  }

  /** Text of token ids; ill-formed bytes become U+FFFD. @throws InvalidOptionError (INVALID_TOKEN) */
  detokenize(tokens: ArrayLike<number>, options?: { showSpecial?: boolean }): string {
    this.checkAlive();
    const ids = checkTokenIds("tokens", tokens, this.info.vocabSize);
    const showSpecial = checkFlag("showSpecial", readOptions(options, ["showSpecial"])["showSpecial"]) ?? false;
    return this.engines_.text.decode(ids, showSpecial);
  }

  /** How well the model predicts a text. Token ids are scored as one sequence, a text in windows of the context size. */
  async perplexity(text: string | ArrayLike<number>, options?: PerplexityOptions): Promise<PerplexityResult> {
    this.checkAlive();
    return await scorePerplexity(this.engines_, text, options, this.info);
  }

  /**
   * Vectors of texts: the final hidden states (after the output norm) of each text's tokens, pooled and normalised. The
   * texts run batched; a vector depends on its text alone, bit for bit. If one text fails, the call does: the message
   * names its index.
   * @throws InvalidOptionError, ContextOverflowError, AbortedError, QueueFullError, DisposedError
   */
  async embed(texts: EmbedInput, options?: EmbedOptions): Promise<EmbedResult> {
    this.checkAlive();
    // Awaited here: a suspended method holds its model, so nobody collects it meanwhile.
    return await embedTexts(this.engines_, texts, options, this.info);
  }

  /** Bytes that this model holds: one copy of the weights, and what each replica has of its own. */
  estimate(): MemoryEstimate {
    const { size, loaded } = this.engines_;
    const weightsBytes = loaded.info.weightBytes;
    const kvBytes = loaded.kvBytes * size;
    const scratchBytes = loaded.scratchBytes * size;
    return { weightsBytes, kvBytes, scratchBytes, totalBytes: weightsBytes + kvBytes + scratchBytes };
  }

  /** Counts of all replicas together. */
  metrics(): ModelMetrics {
    const { engines_: engines } = this;
    return {
      ...this.counts_,
      running: engines.count(header.running),
      queued: engines.count(header.queued),
      steps: engines.count(header.steps),
      pages: engines.loaded.pages * engines.size,
      freePages: engines.count(header.freePages),
      cachedPages: engines.count(header.cachedPages),
      preemptions: engines.count(header.preemptions),
      attentionFallbacks: this.attentionFallbacks_,
    };
  }

  /** Ends the running step at its next layer, fails what is pending with DISPOSED, and frees everything. Idempotent. */
  dispose(): Promise<void> {
    if (this.disposed_ === undefined) {
      abandoned.unregister(this);
      this.disposed_ = this.engines_.stop(disposedError());
    }
    return this.disposed_;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Bytes of weights that a greedy step of one stream may leave unread. For `lutra bench`. @internal */
  get screenedBytes(): number {
    return this.engines_.loaded.info.screenedBytes;
  }

  /** Time per operator of the first replica's steps since the last reset, read between two steps. For `lutra bench`. @internal */
  profile(reset: boolean): Promise<OperatorTimes> {
    return new Promise((resolve, reject) => {
      const onMessage = (message: FromWorker): void => void (message.type === "profiled" && resolve(message.operators));
      this.engines_.submit({ type: "profile", reset }, { onMessage, onFailure: reject }, 1);
    });
  }

  /** What sparse rows of the first replica cost and saved since the last reset. For `lutra bench`. @internal */
  sparsityTotals(reset: boolean): Promise<SparsityTotals> {
    return new Promise((resolve, reject) => {
      const onMessage = (message: FromWorker): void => void (message.type === "sparsity" && resolve(message.totals));
      this.engines_.submit({ type: "sparsity", reset }, { onMessage, onFailure: reject }, 1);
    });
  }

  /** For lifecycle tests. @internal */
  get engineThreadIds(): number[] {
    return this.engines_.threadIds;
  }

  private checkAlive(): void {
    if (this.engines_.ended !== undefined) throw this.engines_.ended;
    if (this.disposed_ !== undefined) throw disposedError();
  }

  private chatPrompt(messages: ChatMessage[], call: ChatCall): ChatPrompt {
    const template = call.chatTemplate ?? this.info.chatTemplate;
    if (template === null) throw missingTemplate(this.info.name);
    return { kind: "chat", template, messages: checkMessages(messages), kwargs: checkKwargs(call.chatTemplateKwargs) };
  }

  private host(): SessionHost {
    return {
      engines: this.engines_,
      info: this.info,
      fileStamp: this.fileStamp_,
      checkAlive: () => this.checkAlive(),
      run: (prepare) => this.run(prepare),
    };
  }

  private run(prepare: () => PreparedRequest): GenerateResultStream {
    let prepared: PreparedRequest;
    try {
      this.checkAlive();
      prepared = prepare();
    } catch (thrown) {
      return GenerateResultStream.failed(toLutraError(thrown));
    }
    const { call, prompt, namespace = 0, affinity = 0, onEnd } = prepared;
    const { params, priority, cachePrompt, signal, onPromptProgress } = call;
    const place = { priority, cached: cachePrompt, namespace };
    const reportProgress = onPromptProgress !== undefined;
    this.counts_.requests++;
    return new GenerateResultStream(
      (sink) =>
        this.engines_.submit({ type: "generate", prompt, params, place, reportProgress }, sink, affinity || namespace),
      {
        signal,
        onPromptProgress,
        loadMs: this.info.loadMs,
        withLogprobs: params.logprobs >= 0,
        attention: this.info.attention,
        ffnSparsity: this.info.ffnSparsity,
        matmul: this.info.matmul,
        owner: this,
        onEnd: (summary, error, tokens) => {
          this.count(summary, error);
          onEnd?.(tokens, error === undefined && summary?.finishReason !== "abort");
        },
      },
    );
  }

  private count(summary: GenerateSummary | undefined, error: LutraError | undefined): void {
    this.counts_.promptTokens += summary?.promptTokens ?? 0;
    this.counts_.completionTokens += summary?.completionTokens ?? 0;
    if (error?.code === "ABORTED" || summary?.finishReason === "abort") this.counts_.aborted++;
    else if (error !== undefined) this.counts_.failed++;
    else this.counts_.completed++;
  }
}

function disposedError(): LutraError {
  return createError("DISPOSED", "the model was disposed; load it again with loadModel()");
}
