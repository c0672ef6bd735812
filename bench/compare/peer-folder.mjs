/**
 * Where the peer lives: node-llama-cpp, an engine on the same model files that Lutra is measured against. It is never a
 * dependency of the package: `install-peer.mjs` puts it into build/peer, and LUTRA_PEER may name another folder that
 * holds node_modules/node-llama-cpp.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const peerVersion = "3.22.1";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** The folder the peer is looked for in, whether or not it is there. */
export const peerFolder = process.env.LUTRA_PEER ? resolve(process.env.LUTRA_PEER) : join(root, "build", "peer");

const packageFolder = join(peerFolder, "node_modules", "node-llama-cpp");

/** Version of the installed peer, or null. */
export function installedPeer() {
  const manifest = join(packageFolder, "package.json");
  return existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).version : null;
}

/** The peer's module, silent and on the CPU's prebuilt binary only. */
export async function startPeer(maxThreads) {
  const { getLlama } = await import(pathToFileURL(join(packageFolder, "dist", "index.js")).href);
  return getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: "error",
    maxThreads,
  });
}
