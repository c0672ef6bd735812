/**
 * The two engines behind one small interface, each through the fastest reasonable use of its public token-level API:
 * load(path, threads) → { prompt(ids), decode(ids, n), unload(), info }. `prompt` evaluates the ids once and gives the
 * one next token; `decode` evaluates a short prompt and gives n greedy tokens, end-of-generation ignored. Neither
 * finds anything of an earlier call in its cache.
 */
import { installedPeer, startPeer } from "./peer-folder.mjs";

export const contextSize = 1024;

const lutra = {
  async start() {
    const { loadModel } = await import("../../dist/esm/index.js");
    return async (path, threads) => {
      const model = await loadModel(path, { threads, contextSize, maxSequences: 1, offline: true, speculation: "off" });
      const options = { temperature: 0, ignoreEos: true, cachePrompt: false };
      const { isa, threads: used, contextSize: context } = model.info;
      return {
        info: {
          isa,
          threads: used,
          contextSize: context,
          memory: model.estimate(),
          screenedBytes: model.screenedBytes,
        },
        prompt: async (ids) => (await model.generate(ids, { ...options, maxTokens: 1 })).tokens,
        decode: async (ids, n) => (await model.generate(ids, { ...options, maxTokens: n })).tokens,
        unload: () => model.dispose(),
      };
    };
  },
};

const peer = {
  async start(threads) {
    const llama = await startPeer(threads);
    return async (modelPath) => {
      const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
      const context = await model.createContext({ contextSize, threads });
      const sequence = context.getSequence();
      const decode = async (ids, n) => {
        await sequence.clearHistory();
        const tokens = [];
        for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
          if (tokens.push(token) === n) break;
        }
        return tokens;
      };
      return {
        info: { version: installedPeer(), threads: context.currentThreads || threads, batchSize: context.batchSize },
        prompt: (ids) => decode(ids, 1),
        decode,
        async unload() {
          await context.dispose();
          await model.dispose();
        },
      };
    };
  },
};

export const engines = { lutra, "node-llama-cpp": peer };
