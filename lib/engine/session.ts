/**
 * A session: token ids that grow with every request, so that each goes on where the last one ended, and that can be saved
 * with their K/V. The engine keeps the K/V of recent histories; a session only says whose: `namespace` 0 is shared by all
 * requests of the model, and a loaded file, whose bytes nobody vouches for, gets one of its own.
 *
 * The history changes when a request ends: it grows by the prompt and by every token that was really generated, also when
 * the request was aborted or failed after its first token. A request that ended with no token, by an abort or a failure,
 * leaves it as it was. An end-of-generation token is no part of the answer and not of the history.
 */
import { createError, type LutraError } from "../errors.js";
import { type FileStamp, fingerprint } from "../files/index.js";
import { pagePositions } from "../limits.js";
import { readOptions } from "../sampling/index.js";
import { checkSessionPath, readSession, type SessionIdentity, writeSession } from "../session/index.js";
import type { GenerateOptions, ModelInfo, SessionOptions } from "../types.js";
import type { FromWorker } from "../worker/index.js";
import type { RequestMessage } from "./client.js";
import type { GenerateResultStream } from "./generate-result.js";
import { isApproximate } from "./matmul/option.js";
import type { Replicas } from "./replicas.js";
import { checkPrompt, checkTokenIds, type PreparedRequest, resolveGenerateCall } from "./request-options.js";

/** What a session needs of its model. It keeps the model alive. */
export interface SessionHost {
  engines: Replicas;
  info: ModelInfo;
  /** Of the model file, before it was loaded. */
  fileStamp: FileStamp | null;
  checkAlive(): void;
  run(prepare: () => PreparedRequest): GenerateResultStream;
}

const sharedNamespace = 0;
/** Sessions so far: names the namespace of a loaded one, and keeps each on one replica. */
let lastSession = 0;

export class Session {
  private readonly host_: SessionHost;
  private readonly namespace_: number;
  private readonly affinity_: number;
  private tokens_: Int32Array;
  /** The call that has not ended, and how to wait for its end, stopping it if that can be done. */
  private busy_: { call: "generate" | "save"; end: () => Promise<unknown> } | undefined;
  private disposed_: Promise<void> | undefined;

  /** @internal */
  constructor(host: SessionHost, tokens: Int32Array, namespace: number) {
    this.host_ = host;
    this.tokens_ = tokens;
    this.namespace_ = namespace;
    this.affinity_ = namespace || ++lastSession;
  }

  /** The history, as a copy: prompts and answers in order. */
  get tokens(): Int32Array {
    return this.tokens_.slice();
  }

  /**
   * Appends a prompt, text or token ids, to the history and answers it, as model.generate() does. Only the first text gets
   * the vocabulary's own special tokens in front. One call at a time: a second one fails with SESSION_BUSY.
   */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): GenerateResultStream {
    const result: GenerateResultStream = this.host_.run(() => this.prepare(prompt, options, () => result.return()));
    return result;
  }

  /**
   * Writes the history and its K/V to a file, in one step: there is the old file or the new one, never a mix. The file
   * belongs to this very model file and kvCacheType, and holds the conversation in the clear.
   * @throws SessionFileError, SessionBusyError, InvalidOptionError
   */
  async save(file: string): Promise<void> {
    this.host_.checkAlive();
    this.checkIdle();
    const path = checkSessionPath(file);
    const saving = this.writeTo(path);
    this.busy_ = { call: "save", end: () => saving.catch(() => {}) };
    try {
      await saving;
    } finally {
      this.busy_ = undefined;
    }
  }

  /** Ends its running request, as leaving its loop early does, and forgets the history. Idempotent. */
  dispose(): Promise<void> {
    this.disposed_ ??= this.end();
    return this.disposed_;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private async end(): Promise<void> {
    await this.busy_?.end();
    this.tokens_ = new Int32Array(0);
    if (this.namespace_ !== sharedNamespace) this.host_.engines.forget(this.namespace_);
  }

  private checkIdle(): void {
    if (this.disposed_ !== undefined) throw createError("DISPOSED", "the session was disposed");
    if (this.busy_ === undefined) return;
    throw createError(
      "SESSION_BUSY",
      `the session's ${this.busy_.call}() has not ended; await it before the next call`,
    );
  }

  private prepare(
    prompt: string | ArrayLike<number>,
    options: GenerateOptions | undefined,
    end: () => Promise<unknown>,
  ): PreparedRequest {
    const { info, engines } = this.host_;
    const call = resolveGenerateCall(options, info.vocabSize);
    const input = checkPrompt("prompt", prompt, info.vocabSize, call.params.parseSpecial);
    // Only now: an option's getter may have started another call.
    this.checkIdle();
    const { parseSpecial } = call.params;
    const added =
      input.kind === "tokens"
        ? input.tokens
        : engines.text.encode(prompt as string, { addSpecial: this.tokens_.length === 0, parseSpecial });
    const tokens = concat(this.tokens_, added);
    this.busy_ = { call: "generate", end };
    const onEnd = (generated: readonly number[], completed: boolean): void => {
      this.busy_ = undefined;
      if (completed || generated.length > 0) this.tokens_ = concat(tokens, generated);
    };
    const { namespace_: namespace, affinity_: affinity } = this;
    return { call, prompt: { kind: "tokens", tokens }, namespace, affinity, onEnd };
  }

  private async writeTo(path: string): Promise<void> {
    const { tokens_: tokens, namespace_: namespace } = this;
    const identity = await identify(this.host_);
    // The last token of a full context stands one past its end and never runs.
    const inContext = tokens.slice(0, this.host_.info.contextSize);
    const { computed, pages } =
      tokens.length === 0
        ? { computed: 0, pages: new Uint8Array(0) }
        : await ask(this.host_.engines, { type: "export", tokens: inContext, namespace }, this.affinity_, "exported");
    await writeSession(path, { identity, tokens, computed, pages });
  }
}

/** @throws InvalidOptionError */
export function createSession(host: SessionHost, options: SessionOptions | undefined): Session {
  const { tokens } = readOptions(options, ["tokens"]) as SessionOptions;
  const history = tokens === undefined ? new Int32Array(0) : checkTokenIds("tokens", tokens, host.info.vocabSize);
  return new Session(host, history, sharedNamespace);
}

/** Nothing reaches the engine before the whole file has been checked. @throws SessionFileError */
export async function openSession(host: SessionHost, file: string): Promise<Session> {
  const path = checkSessionPath(file);
  const expected = { identity: await identify(host), contextSize: host.info.contextSize };
  const { tokens, computed, pages } = await readSession(path, expected);
  if (computed === 0) return new Session(host, tokens, sharedNamespace);
  const namespace = ++lastSession;
  const computedTokens = tokens.slice(0, computed);
  await ask(
    host.engines,
    { type: "import", tokens: computedTokens, computed, pages, namespace },
    namespace,
    "imported",
  );
  return new Session(host, tokens, namespace);
}

async function identify({ engines, info, fileStamp }: SessionHost): Promise<SessionIdentity> {
  const { kvCacheType, matmul, nLayers, nKvHeads, headDim, vocabSize } = info;
  return {
    fingerprint: await fingerprint(info.path, fileStamp),
    // Keys and values of approximate products are nobody else's.
    kvCacheType: isApproximate(matmul) ? `${kvCacheType}/lut` : kvCacheType,
    pageBytes: engines.loaded.pageBytes,
    pagePositions,
    nLayers,
    nKvHeads,
    headDim,
    vocabSize,
  };
}

/** Posts a request that has one answer. */
function ask<T extends "exported" | "imported">(
  engines: Replicas,
  message: RequestMessage,
  affinity: number,
  answer: T,
): Promise<Extract<FromWorker, { type: T }>> {
  return new Promise((resolve, reject) => {
    const onMessage = (reply: FromWorker): void => {
      if (reply.type === answer) resolve(reply as Extract<FromWorker, { type: T }>);
    };
    engines.submit(message, { onMessage, onFailure: (error: LutraError) => reject(error) }, affinity);
  });
}

function concat(head: Int32Array, tail: ArrayLike<number>): Int32Array {
  const all = new Int32Array(head.length + tail.length);
  all.set(head);
  all.set(tail, head.length);
  return all;
}
