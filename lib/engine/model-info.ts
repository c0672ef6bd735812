/** The public description of a loaded model. */
import type { Isa } from "../binding/index.js";
import type { KvCacheType } from "../binding/native.js";
import type { FfnSparsityInfo, ModelInfo } from "../types.js";
import { draftSparsityOption, type LoadedEngine } from "../worker/index.js";
import type { AttentionOutcome } from "./attention/codebooks.js";
import { warnOfColumns } from "./sparsity/report.js";

export interface InfoOptions {
  path: string;
  isa: Isa;
  kvCacheType: KvCacheType;
  attention: AttentionOutcome;
  ffnSparsity: FfnSparsityInfo;
  chatTemplate: string | undefined;
  loadMs: number;
}

export function modelInfo(loaded: LoadedEngine, options: InfoOptions & { replicas: number }): ModelInfo {
  const { info, vocab, contextSize, maxSequences, threads } = loaded;
  const chatTemplate = options.chatTemplate ?? vocab.chatTemplate;
  const warnings = [
    ...info.warnings,
    ...options.attention.warnings,
    ...warnOfColumns(loaded.missingColumns),
    ...warnOfColumns(loaded.missingDraftColumns, draftSparsityOption),
  ];
  if (contextSize > info.contextLength) {
    warnings.push(`contextSize ${contextSize} is more than the ${info.contextLength} tokens the model was trained for`);
  }
  return Object.freeze({
    name: info.name,
    path: options.path,
    architecture: info.architecture,
    nLayers: info.nLayers,
    nHeads: info.nHeads,
    nKvHeads: info.nKvHeads,
    headDim: info.headDim,
    dim: info.dim,
    hiddenDim: info.hiddenDim,
    vocabSize: info.vocabSize,
    contextLength: info.contextLength,
    pooling: info.pooling || "mean",
    contextSize,
    maxSequences,
    threads,
    replicas: options.replicas,
    isa: options.isa,
    kvCacheType: options.kvCacheType,
    attention: Object.freeze(options.attention.info),
    ffnSparsity: Object.freeze(options.ffnSparsity),
    matmul: Object.freeze(loaded.matmul),
    fileBytes: info.fileBytes,
    loadMs: options.loadMs,
    hasChatTemplate: chatTemplate !== null,
    chatTemplate,
    bos: vocab.bos,
    eos: vocab.eos,
    warnings,
  });
}
