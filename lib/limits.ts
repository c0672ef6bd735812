/** Every limit with its default. Error texts quote them from here. */
export const limits = {
  /** Context window when the caller names none: the smaller of this and what the model was trained for. */
  defaultContextSize: 8192,
  maxContextSize: 1 << 20,
  /** Sequences that run at once on one model; more wait. They share the K/V pages. */
  defaultMaxSequences: 16,
  /** Full contexts the K/V cache holds when the caller names neither its size nor how many sequences there are. */
  defaultCacheContexts: 4,
  maxMaxSequences: 64,
  /** Of them, those whose core neurons native code keeps. */
  maxCoreSlots: 64,
  maxKvCacheTokens: 1 << 26,
  maxThreads: 256,
  maxReplicas: 16,
  /** Prompt tokens of one step; an abort is seen between layers, so at most one layer of this many rows late. */
  prefillChunk: 256,
  /** Of them, beside streams that decode: never fewer, so that a prompt gets through whatever was measured. */
  leastPrefillRows: 4,
  /** Rows of a step that verify drafts, at most, and branches of drafts. */
  maxDraftRows: 64,
  maxDraftBranches: 32,
  /** Request priorities are whole numbers from its negative to it. */
  maxPriority: 100,
  /** Requests that wait for admission. */
  maxQueuedRequests: 512,
  /**
   * A longer prompt (UTF-16 units) is encoded outside the engine's thread, whose steps would wait: this much takes 0.3 ms,
   * as the detour does; four times as much 1.4 ms, 256 KiB 18 ms.
   */
  maxInlineText: 16 << 10,
  /** Chats and long texts, of all models, that wait for a thread to encode them. */
  maxShortTasks: 1024,
  /** How long a thread that encodes texts is kept without one: starting it costs 56 ms of CPU, keeping it 11 MB. */
  shortTaskIdleMs: 10_000,
  /** Losses of a replica's worker thread, within `workerLossWindowMs`, that end the model instead of a new start. */
  maxWorkerLosses: 3,
  workerLossWindowMs: 60_000,
  /** Parts a slow reader may leave unread before its sequence pauses. */
  maxUnreadTokens: 256,
  /** Tokens of a text that codebooks are made from, at least; and of the built-in one. */
  leastCalibrationTokens: 512,
  builtinCalibrationTokens: 3072,
  /** Tokens of a text that activation sparsity is calibrated with: at least, by default, at most. */
  leastSparsityTokens: 128,
  defaultSparsityTokens: 1024,
  maxSparsityTokens: 65_536,
  /** Texts of one embed() call. */
  maxEmbedTexts: 65_536,
  /** Candidates native code returns for a row. */
  maxCandidates: 256,
  maxStopStrings: 16,
  maxStopBytes: 256,
  maxLogitBias: 1024,
  maxLogprobs: 20,
  maxTemperature: 100,
  template: {
    maxBytes: 1 << 20,
    maxOutputBytes: 8 << 20,
    /** CPU time of a render: a base, and what a long conversation honestly needs on a slow machine. */
    maxMilliseconds: 250,
    millisecondsPerMessage: 0.1,
    maxSteps: 1_000_000,
    maxDepth: 64,
    maxMessages: 10_000,
  },
  /** A file of prompts, one JSON value a line. */
  promptLines: {
    maxLineBytes: 8 << 20,
    maxIdLength: 256,
    /** Answers that wait for an earlier one to be written, and their bytes, before no other prompt is started. */
    maxWaiting: 1024,
    maxWaitingBytes: 64 << 20,
  },
} as const;

/** Positions of a K/V page (the native cache's unit). */
export const pagePositions = 32;
