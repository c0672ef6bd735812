/**
 * node-llama-cpp in a process of its own, driven by messages: a PeerTask in, a PeerReply out. Between messages it waits in
 * the event loop and takes no processor time. It measures as streams.ts does: prompts until the last one has its first
 * token, generation from there until the first stream has its n tokens; end-of-generation is ignored, the cache is empty.
 *
 *   node peer-child.js <package folder of node-llama-cpp> <threads>
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { toLutraError } from "../errors.js";

export type PeerTask =
  | { task: "load"; path: string; contextSize: number }
  | { task: "measure"; kind: "pp" | "tg"; n: number; depth: number; prompts: number[][] };

export type PeerReply = { result: { tokens: number; ms: number } | null } | { error: string };

/** The part of the peer's interface that is used. */
interface PeerSequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: number[], options: object): AsyncGenerator<number, void, void>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
}
interface PeerContext {
  getSequence(): PeerSequence;
  dispose(): Promise<void>;
}
interface PeerModel {
  createContext(options: object): Promise<PeerContext>;
}
interface PeerModule {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<PeerModel> }>;
}

const [folder, threadsText] = process.argv.slice(2) as [string, string];
const threads = Number(threadsText);
const greedy = { temperature: 0, yieldEogToken: true };

let model: PeerModel;
let contextSize = 0;
let open: { context: PeerContext; sequences: PeerSequence[] } | undefined;

async function load(task: Extract<PeerTask, { task: "load" }>): Promise<null> {
  const { getLlama } = (await import(pathToFileURL(join(folder, "dist", "index.js")).href)) as PeerModule;
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: "error",
    maxThreads: threads,
  });
  model = await llama.loadModel({ modelPath: task.path, gpuLayers: 0 });
  contextSize = task.contextSize;
  return null;
}

/** A context of exactly so many sequences: a larger one than needed would slow the peer. */
async function sequencesOf(count: number): Promise<PeerSequence[]> {
  if (open?.sequences.length !== count) {
    await open?.context.dispose();
    const context = await model.createContext({ contextSize, sequences: count, threads });
    open = { context, sequences: Array.from({ length: count }, () => context.getSequence()) };
  }
  const { sequences } = open;
  for (const sequence of sequences) await sequence.clearHistory();
  return sequences;
}

async function measure(task: Extract<PeerTask, { task: "measure" }>): Promise<{ tokens: number; ms: number }> {
  const { kind, n, depth, prompts } = task;
  const sequences = await sequencesOf(prompts.length);
  const each = <T>(work: (sequence: PeerSequence, prompt: number[]) => Promise<T>) =>
    Promise.all(sequences.map((sequence, i) => work(sequence, prompts[i] as number[])));
  if (kind === "pp") {
    if (depth > 0) await each((sequence, ids) => sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, depth)));
    const start = performance.now();
    await each((sequence, ids) => firstToken(sequence.evaluate(ids.slice(depth), greedy)));
    return { tokens: n * prompts.length, ms: performance.now() - start };
  }
  const streams = sequences.map((sequence, i) => sequence.evaluate(prompts[i] as number[], greedy));
  await Promise.all(streams.map((stream) => stream.next()));
  return generate(streams, n);
}

async function firstToken(stream: AsyncGenerator<number, void, void>): Promise<void> {
  await stream.next();
  await stream.return();
}

async function generate(
  streams: AsyncGenerator<number, void, void>[],
  n: number,
): Promise<{ tokens: number; ms: number }> {
  const start = performance.now();
  let tokens = 0;
  let atFirstEnd: { tokens: number; ms: number } | undefined;
  const run = async (stream: AsyncGenerator<number, void, void>) => {
    for (let i = 0; i < n; i++) {
      const { done } = await stream.next();
      if (done) throw new Error(`a stream ended after ${i} of ${n} tokens`);
      tokens++;
    }
    atFirstEnd ??= { tokens, ms: performance.now() - start };
  };
  await Promise.all(streams.map(run));
  for (const stream of streams) await stream.return();
  return atFirstEnd as { tokens: number; ms: number };
}

function reply(message: PeerReply): void {
  process.send?.(message);
}

process.on("message", async (task: PeerTask) => {
  try {
    reply({ result: task.task === "load" ? await load(task) : await measure(task) });
  } catch (thrown) {
    reply({ error: toLutraError(thrown).message });
  }
});
// The process that asks has ended, or is done with this one.
process.on("disconnect", () => process.exit(0));
// An interrupt of the terminal is for the process that asks.
process.on("SIGINT", () => {});
