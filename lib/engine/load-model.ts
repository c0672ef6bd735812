/** loadModel: options → file → workers → Model. */
import { createError, invalidOption } from "../errors.js";
import { resolveModel } from "../models/index.js";
import { stampFile } from "../files/index.js";
import type { LoadOptions } from "../types.js";
import { findCodebooks, settleAttention } from "./attention/codebooks.js";
import { resolveLoadOptions } from "./load-options.js";
import { recallForms, rememberForms } from "./matmul/measured-forms.js";
import { Model } from "./model.js";
import { readCalibration } from "./sparsity/calibrate.js";
import { draftSparsityOption } from "../worker/index.js";
import { Replicas } from "./replicas.js";

/**
 * Loads a model: a built-in name (pulled when it is not in the cache), a path, or `hf:user/repo:file`.
 * `signal` ends the load at any time; what it held is released.
 * @throws ModelFileError, UnsupportedModelError, InsufficientMemoryError, InvalidOptionError, PullError, AbortedError,
 * BinaryNotFoundError
 */
export async function loadModel(source: string, options?: LoadOptions): Promise<Model> {
  const started = performance.now();
  if (typeof source !== "string" || source === "")
    throw invalidOption("model", "a name, a path or hf:user/repo:file", source);
  const { chatTemplate, onLoadProgress, onPullProgress, offline, signal, ...engine } = resolveLoadOptions(options);
  const { speculation, attention: asked } = engine;
  const checkAborted = (): void => {
    if (signal?.aborted) throw createError("ABORTED", "loading was aborted", { cause: signal.reason });
  };
  checkAborted();
  const path = await resolveModel(source, { offline, onPullProgress, signal });
  const draftPath =
    speculation?.draftModel && (await resolveModel(speculation.draftModel, { offline, onPullProgress, signal }));
  const fileStamp = await stampFile(path);
  const setup = asked && (await findCodebooks({ path, stamp: fileStamp }, asked));
  const ffnSparsity = engine.ffnSparsity && (await readCalibration(engine.ffnSparsity, { path, stamp: fileStamp }));
  const draftSparsity =
    speculation?.draftSparsity &&
    (await readCalibration(speculation.draftSparsity, { path, stamp: fileStamp }, draftSparsityOption));
  checkAborted();
  const plan = speculation && { ...speculation, draftPath, draftSparsity };
  const matmul = await recallForms(engine.matmul, engine);
  const task = { ...engine, matmul, attention: setup?.plan, ffnSparsity, speculation: plan, path };
  const engines = await Replicas.start({ task, onLoadProgress, signal });
  const attention = await settleAttention(setup, engines.loaded.attention);
  await rememberForms(matmul, engines.loaded.matmul, engine);
  return new Model(engines, {
    path,
    attention,
    ffnSparsity: engine.ffnSparsity ?? false,
    isa: engine.isa,
    kvCacheType: engine.kvCacheType,
    chatTemplate,
    loadMs: performance.now() - started,
    fileStamp,
  });
}
