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
  EmbedInput,
  EmbedOptions,
  EmbedResult,
  GenerateOptions,
  MemoryEstimate,
  ModelInfo,
  ModelMetrics,
  PerplexityOptions,
  PerplexityResult,
} from "../types.js";
import type { FromWorker, GenerateSummary, OperatorTimes, PromptInput } from "../worker/index.js";
import type { EngineClient } from "./client.js";
import { type ControlTokens, renderPieces } from "./chat-prompt.js";
import { GenerateResultStream } from "./generate-result.js";
import { embedTexts } from "./embed.js";
import { checkFlag } from "./load-options.js";
import { modelInfo } from "./model-info.js";
import { scorePerplexity } from "./perplexity.js";
import {
  type ChatCall,
  checkPrompt,
  checkTokenIds,
  resolveChatCall,
  resolveGenerateCall,
  type GenerateCall,
} from "./request-options.js";

export interface ModelOptions {
  path: string;
  isa: Isa;
  kvCacheType: KvCacheType;
  chatTemplate: string | undefined;
  loadMs: number;
}

/** A model nobody holds is stopped, as dispose() would; its running requests hold it. */
const abandoned = new FinalizationRegistry<EngineClient>((client) => {
  void client.stop(disposedError());
});

export class Model {
  readonly info: ModelInfo;
  private readonly client_: EngineClient;
  private readonly control_: ControlTokens;
  private readonly counts_ = { requests: 0, completed: 0, aborted: 0, failed: 0, promptTokens: 0, completionTokens: 0 };
  private disposed_: Promise<void> | undefined;

  /** @internal */
  constructor(client: EngineClient, options: ModelOptions) {
    this.client_ = client;
    this.info = modelInfo(client.loaded, options);
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
    return await scorePerplexity(this.client_, text, options, this.info);
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
    return await embedTexts(this.client_, texts, options, this.info);
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

  private run(prepare: () => { call: GenerateCall; prompt: PromptInput }): GenerateResultStream {
    let prepared: ReturnType<typeof prepare>;
    try {
      this.checkAlive();
      prepared = prepare();
    } catch (thrown) {
      return GenerateResultStream.failed(toLutraError(thrown));
    }
    const { call, prompt } = prepared;
    const { params, signal, onPromptProgress } = call;
    this.counts_.requests++;
    return new GenerateResultStream(
      (sink) =>
        this.client_.submit({ type: "generate", prompt, params, reportProgress: onPromptProgress !== undefined }, sink),
      {
        signal,
        onPromptProgress,
        loadMs: this.info.loadMs,
        withLogprobs: params.logprobs >= 0,
        owner: this,
        onEnd: (summary, error) => this.count(summary, error),
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
