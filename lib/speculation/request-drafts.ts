/**
 * Speculation of one request: what its drafters propose after its last token, and what came of it. Every step of the
 * request goes propose() → a choice of nodes runs → observe() for each row that ran → accept() with what the text went on
 * with. What the drafters say decides what is tried, never what comes out.
 */
import { Calibration, firstBias } from "./calibration.js";
import { ChaosDrafter } from "./chaos-drafter.js";
import { DraftTree, levelOf, type Source, sources } from "./draft-tree.js";
import type { Drafter, Likeliest } from "./drafter.js";
import { JacobiDrafter } from "./jacobi-drafter.js";
import { ReaderDrafter } from "./reader-drafter.js";
import { RecyclingDrafter } from "./recycling-drafter.js";
import { RecyclingTable } from "./recycling-table.js";
import { SharedText } from "./shared-text.js";
import { SuffixAutomaton } from "./suffix-automaton.js";
import { SuffixDrafter } from "./suffix-drafter.js";

/** A text that has given nothing to draft for so many steps is asked one step of so many, which costs less than it may miss. */
const patience = 12;
const restInterval = 3;

/** What all requests of a model share: knowledge of the model, and of what others wrote only where that was asked for. */
export class SharedDrafts {
  readonly calibration = new Calibration();
  readonly recycling: RecyclingTable;
  readonly texts: SharedText | undefined;
  readonly isForced: boolean;
  /** Whether rows that ran teach its drafters anything. */
  readonly learnsFromRows: boolean;

  constructor(
    readonly vocabSize: number,
    readonly drafters: readonly Source[],
    sharesTexts = false,
  ) {
    this.isForced = verifiesAll(drafters);
    this.learnsFromRows = drafters.includes("recycling") || drafters.includes("jacobi");
    this.recycling = new RecyclingTable(drafters.includes("recycling") ? vocabSize : 0);
    this.texts = sharesTexts ? new SharedText(vocabSize) : undefined;
  }
}

/** Whether all that is proposed is verified, whatever it is worth: random drafts, and Jacobi decoding. */
function verifiesAll(drafters: readonly Source[]): boolean {
  return drafters.includes("chaos") || (drafters.length === 1 && drafters[0] === "jacobi");
}

export interface DraftStats {
  /** Steps that could have drafted, rows that verified drafts, and those of them that came true. */
  steps: number;
  drafted: number;
  accepted: number;
  perDrafter: Partial<Record<Source, { drafted: number; accepted: number }>>;
  /** Steps by the rows they had for the request: widths[1] ran without a draft. */
  widths: number[];
}

export class RequestDrafts {
  readonly tree = new DraftTree();
  readonly stats: DraftStats = { steps: 0, drafted: 0, accepted: 0, perDrafter: {}, widths: [] };
  private readonly shared_: SharedDrafts;
  private readonly drafters_: Drafter[];
  private last_ = -1;
  /** Steps since one of its drafts was thought worth a row. */
  private barren_ = 0;
  /** How much more often its drafts come true than the calibration says, as log-odds. */
  private bias_ = firstBias;

  constructor(shared: SharedDrafts, prompt: ArrayLike<number>, extra: readonly Drafter[] = []) {
    this.shared_ = shared;
    this.drafters_ = createDrafters(shared).concat(extra);
    for (const source of shared.drafters) this.stats.perDrafter[source] = { drafted: 0, accepted: 0 };
    for (let i = 0; i < prompt.length; i++) this.push(prompt[i] as number);
  }

  /**
   * Whether propose() is worth calling. Between two steps everything is cold in the caches, so what is not run counts: a
   * step of SmolLM2 takes 4 ms, all of the drafting 0.1.
   */
  mayDraft(): boolean {
    if (this.shared_.isForced) return true;
    this.barren_++;
    if (this.barren_ > patience && this.barren_ % restInterval !== 0) return false;
    for (const drafter of this.drafters_) if (drafter.isReady === undefined || drafter.isReady()) return true;
    return false;
  }

  /** Fills the tree with what may follow, at most `maxDepth` tokens, and rates it. */
  propose(maxDepth: number): void {
    this.tree.start(this.last_, maxDepth);
    for (const drafter of this.drafters_) drafter.draft(this.tree);
    this.shared_.calibration.rate(this.tree, this.bias_);
  }

  /** The row of `token` ran, accepted or not; it stood `depth` after the text's last token. */
  observe(token: number, likeliest: Likeliest, depth: number): void {
    for (const drafter of this.drafters_) drafter.observe?.(token, likeliest, depth);
  }

  /** The step ran these nodes, and the text went on with `tokens`: drafts that came true, and the token after them. */
  accept(nodes: readonly number[], tokens: readonly number[]): void {
    if (this.tree.count > 1) this.bias_ = this.shared_.calibration.learn(this.tree, tokens, this.bias_);
    this.count(nodes, tokens);
    if (nodes.length > 0) this.barren_ = 0;
    for (const token of tokens) this.push(token);
    // A step that nothing is proposed for has nothing to learn from.
    this.tree.start(this.last_, 0);
  }

  end(): void {
    for (const drafter of this.drafters_) drafter.end?.();
  }

  private push(token: number): void {
    this.last_ = token;
    for (const drafter of this.drafters_) drafter.push(token);
  }

  private count(nodes: readonly number[], tokens: readonly number[]): void {
    const { stats, tree } = this;
    const rows = nodes.length + 1;
    stats.steps++;
    stats.widths[rows] = (stats.widths[rows] ?? 0) + 1;
    stats.drafted += nodes.length;
    const path = tree.follow(tokens);
    for (const node of nodes) {
      const accepted = path.includes(node) ? 1 : 0;
      stats.accepted += accepted;
      for (const [index, source] of sources.entries()) {
        if (levelOf(tree.evidence[node] as number, index) === 0) continue;
        stats.perDrafter[source] ??= { drafted: 0, accepted: 0 };
        stats.perDrafter[source].drafted++;
        stats.perDrafter[source].accepted += accepted;
      }
    }
  }
}

/** In the order in which they see the tree: the reader grafts onto the leaves that the others left. */
function createDrafters({ vocabSize, drafters, recycling, texts, isForced }: SharedDrafts): Drafter[] {
  const text = new SuffixAutomaton();
  const list: Drafter[] = [];
  if (drafters.includes("suffix")) list.push(new SuffixDrafter(text));
  if (drafters.includes("recycling")) list.push(new RecyclingDrafter(recycling));
  if (drafters.includes("jacobi")) list.push(new JacobiDrafter(isForced));
  if (drafters.includes("reader")) list.push(new ReaderDrafter(text, !drafters.includes("suffix"), texts));
  if (drafters.includes("chaos")) list.push(new ChaosDrafter(vocabSize));
  return list;
}
