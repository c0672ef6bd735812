/**
 * The engines of one model: `n` workers on one copy of the weights, each with its own K/V and threads, seen as one. A
 * request goes to the engine with the fewest; its prompt is encoded on the way when that would keep an engine's steps
 * waiting. Owns the model's text side and the handle that keeps the weights while a worker is replaced.
 */
import { getBinding } from "../binding/index.js";
import { createError, type LutraError } from "../errors.js";
import { limits, pagePositions } from "../limits.js";
import type { ChatTask, LoadedEngine, PromptInput } from "../worker/index.js";
import { type ComparedModel, Comparisons } from "./comparisons.js";
import type { EngineStartOptions, RequestHandle, RequestMessage, RequestSink } from "./client.js";
import { Replica } from "./replica.js";
import { submitLater } from "./submit-later.js";
import { ModelText } from "./text.js";

/** A chat whose messages and arguments were checked and copied. */
export type ChatPrompt = Omit<ChatTask, "tokenizer">;

/** As the engine takes them, or with a prompt that is still a chat. */
export type ModelRequest = WithSource<RequestMessage>;
type WithSource<M> = M extends { prompt: PromptInput } ? Omit<M, "prompt"> & { prompt: PromptInput | ChatPrompt } : M;

export interface ReplicasOptions extends Omit<EngineStartOptions, "task" | "onLost"> {
  task: Omit<EngineStartOptions["task"], "model">;
}

export class Replicas {
  /** What the first engine told when it was loaded; the others are its equals. */
  readonly loaded: LoadedEngine;
  readonly text: ModelText;
  readonly comparisons: Comparisons;
  private readonly replicas_: Replica[];
  private readonly model_: number;
  private ended_: LutraError | undefined;
  private stopping_: Promise<void> | undefined;

  private constructor(replicas: Replica[], loaded: LoadedEngine, compared: ComparedModel) {
    this.replicas_ = replicas;
    this.loaded = loaded;
    this.model_ = compared.model;
    this.text = new ModelText(getBinding().modelTokenizer(compared.model));
    this.comparisons = new Comparisons(compared);
  }

  /** The first engine loads the weights; the others start when it has, all at once. */
  static async start(options: ReplicasOptions): Promise<Replicas> {
    const { task, signal } = options;
    let replicas: Replicas | undefined;
    let model = 0;
    let loaded: LoadedEngine | undefined;
    const owner = {
      restartTask: () => ({ ...task, ...fixedBy(task, loaded), model }),
      onGivenUp: (error: LutraError) => void replicas?.stop(error),
    };
    const first = await Replica.start({ ...options, task: { ...task, model } }, owner);
    const all = [first];
    try {
      loaded = loadedBy(first);
      model = getBinding().modelShare(loaded.handles.model);
      const next = { task: owner.restartTask(), onLoadProgress: undefined, signal };
      const others = Array.from({ length: task.replicas - 1 }, () => Replica.start(next, owner));
      const outcomes = await Promise.allSettled(others);
      for (const outcome of outcomes) if (outcome.status === "fulfilled") all.push(outcome.value);
      for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
      replicas = new Replicas(all, loaded, comparedModel(owner.restartTask()));
      return replicas;
    } catch (thrown) {
      await Promise.all(all.map((each) => each.stop(createError("ABORTED", "loading was aborted"))));
      if (model !== 0) getBinding().modelRelease(model);
      throw thrown;
    }
  }

  get size(): number {
    return this.replicas_.length;
  }

  get ended(): LutraError | undefined {
    return this.ended_;
  }

  /** Sum of a word of control.ts's header over all engines. */
  count(word: number): number {
    return this.replicas_.reduce((sum, replica) => sum + replica.count(word), 0);
  }

  /**
   * Requests of one `affinity` other than 0 go to one engine, which then finds what earlier ones left in its cache; a
   * namespace, whose pages are one engine's, is one by itself.
   */
  submit(request: ModelRequest, sink: RequestSink, affinity = namespaceOf(request)): RequestHandle {
    if (this.ended_ !== undefined) throw this.ended_;
    if (!("prompt" in request)) return this.send(request, sink, affinity);
    const { prompt, ...rest } = request;
    const send = (input: PromptInput): RequestHandle =>
      this.send({ ...rest, prompt: input } as RequestMessage, sink, affinity);
    if (prompt.kind !== "chat" && !(prompt.kind === "text" && prompt.text.length > limits.maxInlineText))
      return send(prompt);
    const run = this.text.run(
      prompt.kind === "chat"
        ? prompt
        : { kind: "encode", texts: [prompt.text], addSpecial: true, parseSpecial: prompt.parseSpecial },
    );
    const submit = ({ ids }: { ids: Int32Array }): RequestHandle => send({ kind: "encoded", tokens: ids });
    return submitLater(run.encoded, submit, sink, run.cancel);
  }

  /** Nothing of this namespace, whose engine is that of its affinity, is needed any more. */
  forget(namespace: number): void {
    this.choose(namespace).client?.forget(namespace);
  }

  /** Ends the engines and the tasks that encode for them: every request fails with `reason`. Idempotent. */
  stop(reason: LutraError): Promise<void> {
    this.stopping_ ??= this.stopAll(reason);
    return this.stopping_;
  }

  /** Threads of the engines that run, for lifecycle tests. */
  get threadIds(): number[] {
    return this.replicas_.flatMap(({ client }) => (client === undefined ? [] : [client.worker.threadId]));
  }

  private async stopAll(reason: LutraError): Promise<void> {
    this.ended_ = reason;
    getBinding().modelRelease(this.model_);
    const parts = [this.text.close(reason), this.comparisons.close(reason)];
    await Promise.all([...parts, ...this.replicas_.map((each) => each.stop(reason))]);
  }

  private send(message: RequestMessage, sink: RequestSink, affinity: number): RequestHandle {
    if (this.ended_ !== undefined) throw this.ended_;
    return this.choose(affinity).submit(message, sink);
  }

  /** The engine of an affinity; else of those that run the one with the fewest requests, the first of several. */
  private choose(affinity: number): Replica {
    if (affinity !== 0) return this.replicas_[(affinity - 1) % this.replicas_.length] as Replica;
    const running = this.replicas_.filter(({ client }) => client !== undefined);
    const candidates = running.length > 0 ? running : this.replicas_;
    return candidates.reduce((best, each) => (each.activeRequests < best.activeRequests ? each : best));
  }
}

function loadedBy({ client }: Replica): LoadedEngine {
  if (client === undefined) throw createError("WORKER_LOST", "the engine's worker thread ended while it loaded");
  return client.loaded;
}

/** Defaults that the first engine resolved hold for every other one. */
function fixedBy(task: ReplicasOptions["task"], loaded: LoadedEngine | undefined): Partial<ReplicasOptions["task"]> {
  if (loaded === undefined) return {};
  const { contextSize, maxSequences, pages, matmul } = loaded;
  return { contextSize, maxSequences, matmul, kvCacheTokens: pages * pagePositions, ...fixedAttention(task, loaded) };
}

/** The codebooks that the first engine has, made or given; or exact, as it is. */
function fixedAttention(
  { attention }: ReplicasOptions["task"],
  loaded: LoadedEngine,
): Pick<ReplicasOptions["task"], "attention"> {
  const state = loaded.attention;
  if (attention === undefined || state === undefined || state.failure !== undefined) return { attention: undefined };
  return { attention: { ...attention, codebooks: state.codebooks } };
}

/** The approximate side of a comparison, with the codebooks that the first engine has found or made. */
function comparedModel(task: EngineStartOptions["task"]): ComparedModel {
  const { model, isa, threads, kvCacheType, matmul, attention, ffnSparsity } = task;
  const same = { model, isa, threads, kvCacheType, matmul, ffnSparsity };
  if (attention?.codebooks === undefined) return { ...same, attention: undefined };
  const { calibration: _, codebooks, ...manner } = attention;
  return { ...same, attention: { ...manner, codebooks } };
}

function namespaceOf(request: object): number {
  const { namespace, place } = request as { namespace?: number; place?: { namespace: number } };
  return namespace ?? place?.namespace ?? 0;
}
