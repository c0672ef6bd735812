/** Speculation in the engine's worker: what each generating request drafts, what of it a step verifies, what came of it. */
import type { StepArrays } from "../../binding/native.js";
import type { SamplingParams } from "../../sampling/index.js";
import type { Sequence } from "../../scheduler/index.js";
import {
  chooseNodes,
  type DraftStats,
  isHopeless,
  type Likeliest,
  orderRows,
  RequestDrafts,
  type SharedDrafts,
} from "../../speculation/index.js";
import type { DraftModel } from "./draft-model.js";

/** Likeliest tokens of a row that the drafters keep where they cost nothing. */
const mostKept = 8;

export interface DraftingOptions {
  /** Nodes of one request that a step verifies at most. */
  maxNodes: number;
  /** Whether a row whose best token alone is wanted is cheaper, so that the drafters have to do with that. */
  isScreened: boolean;
  model?: DraftModel | undefined;
}

export class Drafting {
  /** Whether it wants to see the rows that ran. */
  get learnsFromRows(): boolean {
    return this.shared_.learnsFromRows;
  }
  /** Candidates of a row that it wants beside the sampler's. */
  readonly keptCandidates: number;
  private readonly shared_: SharedDrafts;
  private readonly maxNodes_: number;
  private readonly model_: DraftModel | undefined;
  private readonly requests_ = new Map<number, RequestDrafts>();
  private readonly likeliest_: Likeliest = {
    ids: new Int32Array(0),
    logits: new Float32Array(0),
    offset: 0,
    count: 0,
    logSumExp: 0,
  };

  constructor(shared: SharedDrafts, { maxNodes, isScreened, model }: DraftingOptions) {
    this.shared_ = shared;
    this.model_ = model;
    this.maxNodes_ = maxNodes;
    this.keptCandidates = isScreened || !shared.drafters.includes("recycling") ? 1 : mostKept;
  }

  begin(sequence: Sequence, params: SamplingParams): void {
    const known = sequence.tokens.subarray(0, sequence.length);
    const model = this.model_?.follow(params, sequence.promptLength);
    this.requests_.set(sequence.id, new RequestDrafts(this.shared_, known, model === undefined ? [] : [model]));
  }

  /** What speculation did for the request, which is over; undefined when it was not begun. */
  end(sequence: Sequence): DraftStats | undefined {
    const request = this.requests_.get(sequence.id);
    request?.end();
    this.requests_.delete(sequence.id);
    return request?.stats;
  }

  /** Gives every sequence its draft, or none; see PlanDrafts. */
  plan(sequences: readonly Sequence[], time: (rows: number) => number, most: number): void {
    const drafting = sequences.filter(({ id }) => this.requests_.get(id)?.mayDraft());
    const { isForced } = this.shared_;
    if (drafting.length === 0 || (!isForced && isHopeless(sequences.length, time))) return;
    const trees = drafting.map(({ id, length, maxPositions }) => {
      const request = this.requests_.get(id) as RequestDrafts;
      request.propose(maxPositions - length);
      return request.tree;
    });
    const others = sequences.length - drafting.length;
    const choice = { most, mostOfTree: this.maxNodes_, isForced, others };
    const chosen = chooseNodes(trees, time, choice);
    drafting.forEach((sequence, i) => {
      const nodes = chosen[i] as number[];
      if (nodes.length > 0) sequence.draft = orderRows(trees[i] as (typeof trees)[number], nodes);
    });
  }

  /** Row of the step's answers `w` ran `token`, `depth` after the text's last. */
  observe(sequence: Sequence, arrays: StepArrays, k: number, at: { w: number; token: number; depth: number }): void {
    const request = this.requests_.get(sequence.id);
    if (request === undefined) return;
    const likeliest = this.likeliest_;
    likeliest.ids = arrays.candidateIds;
    likeliest.logits = arrays.candidateLogits;
    likeliest.offset = at.w * k;
    likeliest.count = Math.min(k, this.keptCandidates);
    likeliest.logSumExp = arrays.logSumExp[at.w] as number;
    request.observe(at.token, likeliest, at.depth);
  }

  /** The step ran the rows of the sequence's draft that `ran` has entries for; the text went on with `tokens`. */
  accept(sequence: Sequence, ran: readonly number[], tokens: readonly number[]): void {
    const nodes: number[] = [];
    ran.forEach((_, row) => {
      if (row > 0) nodes.push(sequence.draft?.nodes[row] as number);
    });
    this.requests_.get(sequence.id)?.accept(nodes, tokens);
  }
}
