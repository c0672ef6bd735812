/** A loaded model: every method of the public interface that works on one. */
import { getBinding, type Isa } from "../binding/index.js";
import type { KvCacheType } from "../binding/native.js";
import { missingTemplate } from "../chat/index.js";
import { createError, invalidOption, type LutraError, toLutraError } from "../errors.js";
import { readOptions } from "../sampling/index.js";
import { header } from "../worker/index.js";
import type {
  ChatMessage,
  ChatOptions,
  GenerateOptions,
  MemoryEstimate,
  ModelInfo,
  ModelMetrics,
  PerplexityOptions,
  PerplexityResult,
  SessionOptions,
} from "../types.js";
import type { FileStamp } from "../session/index.js";
import type { FromWorker, GenerateSummary, OperatorTimes } from "../worker/index.js";
import type { EngineClient } from "./client.js";
import { type ControlTokens, renderPieces } from "./chat-prompt.js";
import { GenerateResultStream } from "./generate-result.js";
import { checkFlag } from "./load-options.js";
import { modelInfo } from "./model-info.js";
import { scorePerplexity } from "./perplexity.js";
import {
  type ChatCall,
  checkPrompt,
  checkTokenIds,
  type PreparedRequest,
  resolveChatCall,
  resolveGenerateCall,
} from "./request-options.js";
import { createSession, openSession, type Session, type SessionHost } from "./session.js";

export interface ModelOptions {
  path: string;
  isa: Isa;
  kvCacheType: KvCacheType;
  chatTemplate: string | undefined;
  loadMs: number;
  fileStamp: FileStamp | null;
}

/** A model nobody holds is stopped, as dispose() would; its running requests hold it. */
const abandoned = new FinalizationRegistry<EngineClient>((client) => {
  void client.stop(disposedError());
});

export class Model {
  readonly info: ModelInfo;
  private readonly client_: EngineClient;
  private readonly control_: ControlTokens;
  private readonly fileStamp_: FileStamp | null;
  private readonly counts_ = { requests: 0, completed: 0, aborted: 0, failed: 0, promptTokens: 0, completionTokens: 0 };
  private disposed_: Promise<void> | undefined;

  /** @internal */
  constructor(client: EngineClient, options: ModelOptions) {
    this.client_ = client;
    this.info = modelInfo(client.loaded, options);
    this.fileStamp_ = options.fileStamp;
    this.control_ = { binding: getBinding(), tokenizer: client.loaded.handles.tokenizer, spellings: new Map() };
    abandoned.register(this, client, this);
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

  /** Answers a conversation, rendered by the model's chat template. Control tokens spelled in a content stay text. */
  chat(messages: ChatMessage[], options?: ChatOptions): GenerateResultStream {
    return this.run(() => {
      const call = resolveChatCall(options, this.info.vocabSize);
      return { call, prompt: { kind: "pieces", pieces: this.render(messages, call) } };
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
    return openSession(this.host(), file);
  }

  /** Token ids of a text. `addSpecial` (default true): with the tokens the vocabulary asks for in front and behind. */
  tokenize(text: string, options?: { addSpecial?: boolean; parseSpecial?: boolean }): number[] {
    this.checkAlive();
    if (typeof text !== "string") throw invalidOption("text", "a string", text);
    const given = readOptions(options, ["addSpecial", "parseSpecial"]);
    const addSpecial = checkFlag("addSpecial", given["addSpecial"]) ?? true;
    const parseSpecial = checkFlag("parseSpecial", given["parseSpecial"]) ?? false;
    return Array.from(getBinding().encode(this.client_.loaded.handles.tokenizer, text, addSpecial, parseSpecial));
  }

  /** Text of token ids; ill-formed bytes become U+FFFD. @throws InvalidOptionError (INVALID_TOKEN) */
  detokenize(tokens: ArrayLike<number>, options?: { showSpecial?: boolean }): string {
    this.checkAlive();
    const ids = checkTokenIds("tokens", tokens, this.info.vocabSize);
    const showSpecial = checkFlag("showSpecial", readOptions(options, ["showSpecial"])["showSpecial"]) ?? false;
    const bytes = getBinding().decode(this.client_.loaded.handles.tokenizer, ids, showSpecial);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  /** How well the model predicts a text. Token ids are scored as one sequence, a text in windows of the context size. */
  async perplexity(text: string | ArrayLike<number>, options?: PerplexityOptions): Promise<PerplexityResult> {
    this.checkAlive();
    return scorePerplexity(this.client_, text, options, this.info);
  }

  /** Vectors of texts: not available yet. */
  async embed(_texts: string | string[]): Promise<never> {
    throw createError("NOT_AVAILABLE", "embed() is not available yet");
  }

  /** Bytes that this model holds. */
  estimate(): MemoryEstimate {
    const { info, kvBytes, scratchBytes } = this.client_.loaded;
    const weightsBytes = info.weightBytes;
    return { weightsBytes, kvBytes, scratchBytes, totalBytes: weightsBytes + kvBytes + scratchBytes };
  }

  metrics(): ModelMetrics {
    const word = (index: number): number => Atomics.load(this.client_.control, index);
    return {
      ...this.counts_,
      running: word(header.running),
      queued: word(header.queued),
      steps: word(header.steps),
      pages: this.client_.loaded.pages,
      freePages: word(header.freePages),
      cachedPages: word(header.cachedPages),
      preemptions: word(header.preemptions),
    };
  }

  /** Ends the running step at its next layer, fails what is pending with DISPOSED, and frees everything. Idempotent. */
  dispose(): Promise<void> {
    if (this.disposed_ === undefined) {
      abandoned.unregister(this);
      this.disposed_ = this.client_.stop(disposedError());
    }
    return this.disposed_;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Bytes of weights that a greedy step of one stream may leave unread. For `lutra bench`. @internal */
  get screenedBytes(): number {
    return this.client_.loaded.info.screenedBytes;
  }

  /** Time per operator of the steps since the last reset, read between two steps. For `lutra bench`. @internal */
  profile(reset: boolean): Promise<OperatorTimes> {
    return new Promise((resolve, reject) => {
      const onMessage = (message: FromWorker): void => void (message.type === "profiled" && resolve(message.operators));
      this.client_.submit({ type: "profile", reset }, { onMessage, onFailure: reject });
    });
  }

  /** For lifecycle tests. @internal */
  get engineThreadId(): number {
    return this.client_.worker.threadId;
  }

  private checkAlive(): void {
    if (this.client_.ended !== undefined) throw this.client_.ended;
    if (this.disposed_ !== undefined) throw disposedError();
  }

  private render(messages: ChatMessage[], call: ChatCall): string[] {
    const template = call.chatTemplate ?? this.info.chatTemplate;
    if (template === null) throw missingTemplate(this.info.name);
    const { vocab, handles } = this.client_.loaded;
    const spelling = (id: number): string =>
      id < 0 ? "" : Buffer.from(getBinding().tokenBytes(handles.tokenizer, id, true)).toString("utf8");
    const options = { kwargs: call.chatTemplateKwargs, bosToken: spelling(vocab.bos), eosToken: spelling(vocab.eos) };
    return renderPieces(template, messages, options, this.control_);
  }

  private host(): SessionHost {
    return {
      client: this.client_,
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
    const { call, prompt, namespace = 0, onEnd } = prepared;
    const { params, priority, cachePrompt, signal, onPromptProgress } = call;
    const place = { priority, cached: cachePrompt, namespace };
    const reportProgress = onPromptProgress !== undefined;
    this.counts_.requests++;
    return new GenerateResultStream(
      (sink) => this.client_.submit({ type: "generate", prompt, params, place, reportProgress }, sink),
      {
        signal,
        onPromptProgress,
        loadMs: this.info.loadMs,
        withLogprobs: params.logprobs >= 0,
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
