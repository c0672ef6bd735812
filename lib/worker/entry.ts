/** The piscina task: loads a model and leaves an EngineLoop behind that serves the task's port. */
import { getBinding } from "../binding/index.js";
import type { NativeBinding } from "../binding/native.js";
import { createError, toLutraError } from "../errors.js";
import { limits, pagePositions } from "../limits.js";
import { Scheduler } from "../scheduler/index.js";
import { SharedDrafts } from "../speculation/index.js";
import { createEngine } from "./attention/create-engine.js";
import { header } from "./control.js";
import { type DraftHandles, DraftModel, type DraftTarget } from "./speculation/draft-model.js";
import { Drafting } from "./speculation/drafting.js";
import { EngineLoop } from "./engine-loop.js";
import { tilesOf, settleMatmul, tablesOf } from "./matmul-forms.js";
import type { EngineHandles, EngineTask, LoadedEngine, LoadReply } from "./protocol.js";
import { calibrateSparsity } from "./sparsity/calibrate.js";
import { missingColumns } from "./sparsity/columns.js";
import { columnsOf, planSparsity } from "./sparsity/plan.js";

/** Bytes of full logits a step may hold; bounds the rows that perplexity scores at once. */
const wantedLogitBytes = 32 << 20;
const maxWantedRows = 128;
/** What codes and rows of lookup attention take at most, of the same keys and values in 16 bits. */
const lookupShare = 0.66;

type WorkerHandles = { [Name in keyof (EngineHandles & DraftHandles)]?: number | undefined };

interface Target extends DraftTarget {
  vocabSize: number;
  isScreened: boolean;
  handles: WorkerHandles;
}

export default function startEngine(task: EngineTask): LoadReply {
  const handles: WorkerHandles = {};
  let binding: NativeBinding | undefined;
  try {
    binding = getBinding();
    return { ok: true, engine: load(binding, task, handles) };
  } catch (thrown) {
    if (binding !== undefined) release(binding, handles);
    task.port.close();
    const { code, message } = toLutraError(thrown);
    return { ok: false, error: { code, message } };
  }
}

function load(binding: NativeBinding, task: EngineTask, handles: WorkerHandles): LoadedEngine {
  const started = performance.now();
  const { isa, threads, kvCacheType, ffnSparsity, control, port } = task;
  const matmul = task.model === 0 ? settleMatmul(binding, task) : task.matmul;
  const columns = ffnSparsity === undefined ? [] : columnsOf(ffnSparsity);
  const draftSparsity = task.speculation?.draftSparsity;
  const draftColumns = draftSparsity === undefined ? [] : columnsOf(draftSparsity);
  const allColumns = [...new Set([...columns, ...draftColumns])];
  let last = { loadedBytes: 0, totalBytes: 0 };
  const onProgress = (loadedBytes: number, totalBytes: number): void => {
    last = { loadedBytes, totalBytes };
    port.postMessage({ type: "load-progress", ...last });
  };
  const model =
    task.model === 0
      ? binding.modelAcquire(task.path, threads, control, onProgress, tilesOf(matmul), allColumns)
      : binding.modelShare(task.model);
  handles.model = model;
  const info = binding.modelInfo(model);
  // The end is always reported, for a shared copy too, whose load reports nothing.
  const totalBytes = last.totalBytes || info.fileBytes;
  if (last.loadedBytes < totalBytes || last.totalBytes === 0) onProgress(totalBytes, totalBytes);
  const tokenizer = binding.modelTokenizer(model);
  handles.tokenizer = tokenizer;
  const vocab = binding.vocab(tokenizer);
  if (vocab.size > info.vocabSize) {
    throw createError(
      "TOKENIZER_BAD_VOCAB",
      `the tokenizer has ${vocab.size} tokens, the model's head only ${info.vocabSize}`,
    );
  }
  const contextSize = task.contextSize || Math.min(limits.defaultContextSize, info.contextLength);
  const pageStride = Math.ceil(contextSize / pagePositions);
  const maxSequences = task.maxSequences || limits.defaultMaxSequences;
  if (ffnSparsity?.type === "coreinfer" && maxSequences > limits.maxCoreSlots) {
    const expected = `at most ${limits.maxCoreSlots} with ffnSparsity "coreinfer"`;
    throw createError("INVALID_OPTION", `maxSequences: expected ${expected}, got ${maxSequences}`);
  }
  const lookupBytes = task.attention === undefined ? 0 : lookupShare * info.kvBytesPerToken.f16;
  const contextBytes = pageStride * pagePositions * (info.kvBytesPerToken[kvCacheType] + lookupBytes);
  const pages = countPages(task, pageStride, contextBytes, binding.cpu().availableMemoryBytes / task.replicas);
  const maxRows = limits.prefillChunk + maxSequences;
  const maxWanted = Math.max(
    maxSequences,
    Math.min(maxWantedRows, Math.floor(wantedLogitBytes / (4 * info.vocabSize))),
  );
  const subject = { binding, model, tokenizer, info, threads, isa, control };
  const sparsityReport = task.sparsityTrial && calibrateSparsity(subject, task.sparsityTrial);
  const { engine, attention } = createEngine(
    subject,
    {
      ...{ threads, maxRows, maxWanted, pages, isa, kvType: kvCacheType, tables: tablesOf(matmul) },
      ...(ffnSparsity && { sparsity: planSparsity(ffnSparsity, info.nLayers) }),
    },
    task.attention,
  );
  handles.engine = engine;
  if (Atomics.load(control, header.stop) !== 0) throw createError("ABORTED", "loading was aborted");
  const drafting = createDrafting(binding, task, {
    model,
    tables: tablesOf(matmul),
    tokenizer,
    size: vocab.size,
    vocabSize: info.vocabSize,
    isScreened: info.screenedBytes > 0,
    contextSize,
    handles,
  });
  const scheduler = new Scheduler(
    {
      maxSequences,
      maxBranches: drafting === undefined ? 0 : limits.maxDraftBranches,
      pageStride,
      maxRows,
      maxWanted,
      maxCandidates: limits.maxCandidates,
      dim: info.dim,
      pages,
      contextSize,
      prefillChunk: limits.prefillChunk,
      maxQueuedRequests: limits.maxQueuedRequests,
      approximates: ffnSparsity !== undefined || (attention !== undefined && attention.failure === undefined),
      choosesCores: ffnSparsity?.type === "coreinfer",
    },
    control,
    (sequences, time, most) => drafting?.plan(sequences, time, most),
  );
  const source = { binding, tokenizer, vocab, endOfGeneration: new Set(vocab.endOfGeneration) };
  const { threads: used, kvBytes, scratchBytes, pageBytes } = binding.engineInfo(engine);
  new EngineLoop({
    port,
    control,
    source,
    engine,
    scheduler,
    drafting,
    contextSize,
    rowLength: info.vocabSize,
    pageBytes,
    dim: info.dim,
    release: () => release(binding, handles),
  }).serve();
  return {
    handles: { model, tokenizer, engine },
    info,
    vocab,
    contextSize,
    maxSequences,
    threads: used,
    kvBytes,
    scratchBytes,
    pages,
    pageBytes,
    matmul,
    attention,
    sparsityReport,
    missingColumns: missingColumns(binding.modelTensors(model), columns),
    missingDraftColumns: missingColumns(binding.modelTensors(model), draftColumns),
    loadMs: performance.now() - started,
  };
}

function createDrafting(binding: NativeBinding, task: EngineTask, target: Target): Drafting | undefined {
  const { speculation } = task;
  if (speculation === undefined) return undefined;
  const { drafters, shareTexts, maxNodes } = speculation;
  const model = drafters.includes("draft") ? new DraftModel(binding, task, target, target.handles) : undefined;
  return new Drafting(new SharedDrafts(target.vocabSize, drafters, shareTexts), {
    maxNodes,
    isScreened: target.isScreened,
    model,
  });
}

/** As the caller says; by default room for some full contexts, fewer when memory is short. */
function countPages(task: EngineTask, pageStride: number, contextBytes: number, availableBytes: number): number {
  const { kvCacheTokens, maxSequences, contextSize } = task;
  if (kvCacheTokens > 0) {
    const pages = Math.ceil(kvCacheTokens / pagePositions);
    if (pages >= pageStride) return pages;
    const least = pageStride * pagePositions;
    throw createError("INVALID_OPTION", `kvCacheTokens: expected at least one context, ${least}, got ${kvCacheTokens}`);
  }
  if (maxSequences > 0 && contextSize > 0) return pageStride * maxSequences;
  return pageStride * fittingContexts(maxSequences || limits.defaultCacheContexts, contextBytes, availableBytes);
}

/** As many contexts, `most` at most, as take half of the free memory (0: unknown), and at least one. */
export function fittingContexts(most: number, contextBytes: number, availableBytes: number): number {
  const fitting = Math.floor((availableBytes || Infinity) / 2 / contextBytes);
  return Math.max(1, Math.min(most, fitting));
}

function release(binding: NativeBinding, handles: WorkerHandles): void {
  for (const engine of [handles.engine, handles.draftEngine]) if (engine !== undefined) binding.engineRelease(engine);
  for (const each of [handles.tokenizer, handles.draftTokenizer])
    if (each !== undefined) binding.tokenizerRelease(each);
  for (const model of [handles.model, handles.draftModel]) if (model !== undefined) binding.modelRelease(model);
  for (const name of Object.keys(handles) as (keyof WorkerHandles)[]) handles[name] = undefined;
}
