/**
 * A model that drafts: a smaller one, or the very model that it drafts for, on the same weights with channels left out. It
 * follows each sequence with keys and values of its own: before a step it reads what the text has got since, then goes on by
 * itself while what it says is likely enough to be worth its time. It draws with the request's own noise, so where the two
 * agree, they draw the same token at any temperature.
 */
import type { LutTables, NativeBinding, StepArrays, StepShape } from "../../binding/native.js";
import { createError } from "../../errors.js";
import { limits, pagePositions } from "../../limits.js";
import { type Candidates, candidatesNeeded, pickToken, type SamplingParams } from "../../sampling/index.js";
import { createStepArrays } from "../../scheduler/index.js";
import type { Drafter, DraftTree } from "../../speculation/index.js";
import type { EngineTask } from "../protocol.js";
import { draftSparsityOption, planSparsity } from "../sparsity/plan.js";

/** Sequences that it follows at once; others go without. */
const maxFollowed = 4;
const maxRows = 256;
/** Tokens of a draft, and the chance below which the next is not worth a step of the draft model. */
const maxDepth = 4;
const leastChance = 0.3;
/** Below this share of right guesses it drafts one step of so many, to see whether that has changed. */
const leastHitRate = 0.25;
const restInterval = 32;
const hitLearning = 1 / 16;
/** Candidates that give a draft's chance. */
const candidates = 8;

/** The model that is drafted for. */
export interface DraftTarget {
  model: number;
  tables: LutTables;
  tokenizer: number;
  /** Tokens of its vocabulary. */
  size: number;
  contextSize: number;
}

export interface DraftHandles {
  draftModel?: number | undefined;
  draftTokenizer?: number | undefined;
  draftEngine?: number | undefined;
}

export class DraftModel {
  private readonly binding_: NativeBinding;
  private readonly engine_: number;
  private readonly arrays_: StepArrays;
  private readonly shape_: StepShape;
  private readonly vocabSize_: number;
  private readonly free_: number[];

  /** The objects go into `handles` as they are made; the caller releases them. @throws INVALID_OPTION, and as loadModel */
  constructor(binding: NativeBinding, task: EngineTask, target: DraftTarget, handles: DraftHandles) {
    const { threads, isa, control } = task;
    this.binding_ = binding;
    const manner = acquire(binding, task, target, handles);
    const model = handles.draftModel as number;
    const { vocabSize, dim } = binding.modelInfo(model);
    const pageStride = Math.ceil(target.contextSize / pagePositions);
    const pages = maxFollowed * pageStride;
    handles.draftEngine = binding.engineCreate(model, { ...manner, threads, maxRows, maxWanted: 1, pages, isa });
    this.engine_ = handles.draftEngine;
    this.vocabSize_ = vocabSize;
    const tables = Int32Array.from({ length: pages }, (_, page) => page);
    const sizes = { maxSequences: maxFollowed, maxBranches: 0, pageStride, maxRows, maxWanted: 1 };
    this.arrays_ = createStepArrays({ ...sizes, maxCandidates: limits.maxCandidates, dim }, tables, control);
    this.shape_ = { rows: 0, sequences: maxFollowed, pageStride, k: candidates, mirrors: 0 };
    this.free_ = Array.from({ length: maxFollowed }, (_, slot) => slot);
  }

  /** A text whose prompt is so long, from its first token. Undefined when it follows as many as it can. */
  follow(params: SamplingParams, promptLength: number): ModelDrafter | undefined {
    const slot = this.free_.pop();
    if (slot === undefined) return undefined;
    this.arrays_.exactUntil[slot] = promptLength;
    this.arrays_.coreSlots[slot] = slot;
    return new ModelDrafter(this, slot, params);
  }

  leave(slot: number): void {
    this.free_.push(slot);
  }

  /** Runs tokens[from, end) of a text; the candidates are those after the last of them. */
  run(slot: number, tokens: readonly number[], from: number, k: number): { candidates: Candidates; logSumExp: number } {
    const { arrays_: arrays, shape_: shape } = this;
    const exactUntil = arrays.exactUntil[slot] as number;
    for (let begin = from; begin < tokens.length; begin += shape.rows) {
      // A prompt's rows run before the others: core neurons are chosen from what they leave.
      const end = begin < exactUntil ? Math.min(exactUntil, tokens.length) : tokens.length;
      shape.rows = Math.min(maxRows, end - begin);
      shape.k = Math.min(k, this.vocabSize_);
      for (let row = 0; row < shape.rows; row++) {
        arrays.tokens[row] = tokens[begin + row] as number;
        arrays.positions[row] = begin + row;
        arrays.sequences[row] = slot;
        arrays.wants[row] = begin + row === tokens.length - 1 ? 1 : 0;
        arrays.targets[row] = -1;
      }
      arrays.biasOffsets.fill(0);
      this.binding_.engineStep(this.engine_, shape, arrays);
    }
    const { candidateIds: ids, candidateLogits: logits } = arrays;
    const found = { ids, logits, offset: 0, count: shape.k, vocabSize: this.vocabSize_ };
    return { candidates: found, logSumExp: arrays.logSumExp[0] as number };
  }
}

export class ModelDrafter implements Drafter {
  readonly source = "draft";
  private readonly text_: number[] = [];
  /** Positions of the text whose keys and values are in the cache; those of `guesses_` follow them. */
  private computed_ = 0;
  private guesses_: number[] = [];
  /** First token of the last draft; -1: there was none, or what came has been compared with it. */
  private first_ = -1;
  /** Of its first guesses, the share that came true lately; none means that it rests most of the time. */
  private hitRate_ = 1;
  private drafts_ = 0;
  private readonly k_: number;

  constructor(
    private readonly model_: DraftModel,
    private readonly slot_: number,
    private readonly params_: SamplingParams,
  ) {
    this.k_ = Math.max(candidates, candidatesNeeded(params_));
  }

  push(token: number): void {
    if (this.first_ >= 0) this.hitRate_ += hitLearning * ((this.first_ === token ? 1 : 0) - this.hitRate_);
    this.first_ = -1;
    const isNext = this.computed_ === this.text_.length;
    if (isNext && this.guesses_[0] === token) {
      this.computed_++;
      this.guesses_.shift();
    } else if (isNext) this.guesses_ = [];
    this.text_.push(token);
  }

  draft(tree: DraftTree): void {
    if (this.hitRate_ < leastHitRate && this.drafts_++ % restInterval > 0) return;
    const length = this.text_.length;
    this.guesses_ = [];
    // The last token runs in any case: what follows it is asked.
    let from = Math.min(this.computed_, length - 1);
    let chance = 1;
    let node = 0;
    for (let depth = 0; depth < Math.min(maxDepth, tree.maxDepth) && chance >= leastChance; depth++) {
      const { candidates: row, logSumExp } = this.model_.run(this.slot_, this.text_, from, this.k_);
      from = this.text_.length;
      if (!Number.isFinite(logSumExp)) break;
      const { token, logprob } = pickToken(this.params_, row, logSumExp, this.text_.length);
      chance *= Math.exp(logprob);
      node = tree.propose(node, token, this.source, levelOfChance(Math.exp(logprob)));
      if (node < 0) break;
      this.text_.push(token);
    }
    this.computed_ = Math.min(from, length);
    this.guesses_ = this.text_.slice(length, from);
    this.first_ = this.text_[length] ?? -1;
    this.text_.length = length;
  }

  end(): void {
    this.model_.leave(this.slot_);
  }
}

function levelOfChance(chance: number): number {
  return 1 + Math.min(9, Math.floor(chance * 10));
}

/** A handle of the model that drafts, and what of its engine is its own. */
function acquire(
  binding: NativeBinding,
  task: EngineTask,
  target: DraftTarget,
  handles: DraftHandles,
): Pick<Parameters<NativeBinding["engineCreate"]>[1], "kvType" | "sparsity" | "tables"> {
  const { threads, control, kvCacheType, speculation } = task;
  const draftSparsity = speculation?.draftSparsity;
  if (draftSparsity !== undefined) {
    handles.draftModel = binding.modelShare(target.model);
    const { nLayers } = binding.modelInfo(target.model);
    const sparsity = planSparsity(draftSparsity, nLayers, undefined, draftSparsityOption);
    return { kvType: kvCacheType, sparsity, tables: target.tables };
  }
  const path = speculation?.draftPath as string;
  handles.draftModel = binding.modelAcquire(path, threads, control);
  handles.draftTokenizer = binding.modelTokenizer(handles.draftModel);
  checkVocabulary(binding, target, handles.draftTokenizer, path);
  return {};
}

/** Drafts are token ids: they must mean the same in both models. */
function checkVocabulary(binding: NativeBinding, target: DraftTarget, tokenizer: number, path: string): void {
  const { size } = binding.vocab(tokenizer);
  const expected = `speculation.draftModel: expected a model with the vocabulary of the model it drafts for`;
  if (size !== target.size)
    throw createError("INVALID_OPTION", `${expected}, ${target.size} tokens; ${path} has ${size}`);
  for (let id = 0; id < size; id++) {
    const [ours, theirs] = [target.tokenizer, tokenizer].map((handle) => binding.tokenBytes(handle, id, true));
    if (Buffer.compare(ours as Uint8Array, theirs as Uint8Array) !== 0)
      throw createError("INVALID_OPTION", `${expected}; token ${id} of ${path} is another`);
  }
}
