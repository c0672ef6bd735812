/**
 * Installs the peer with npm, from whatever registry npm is configured for, into build/peer (or LUTRA_PEER). Of its
 * platform packages only this machine's CPU build is taken: the GPU builds are optional dependencies and hundreds of
 * megabytes. Does nothing when the right version is there. Nothing of the repository's own node_modules is touched.
 *
 *   node bench/compare/install-peer.mjs
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { installedPeer, peerFolder, peerVersion } from "./peer-folder.mjs";

const platforms = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "linux-arm": "linux-armv7l",
  "darwin-x64": "mac-x64",
  "darwin-arm64": "mac-arm64-metal",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

const platform = platforms[`${process.platform}-${process.arch}`];
if (platform === undefined) {
  console.error(`node-llama-cpp has no prebuilt binary for ${process.platform}-${process.arch}`);
  process.exit(1);
}
const binaries = join(peerFolder, "node_modules", "@node-llama-cpp");
if (installedPeer() === peerVersion && existsSync(join(binaries, platform))) {
  console.log(`node-llama-cpp ${peerVersion} is already in ${peerFolder}`);
  process.exit(0);
}

mkdirSync(peerFolder, { recursive: true });
const npmArguments = [
  "install",
  "--prefix",
  peerFolder,
  ..."--no-save --no-audit --no-fund --ignore-scripts --omit=optional --omit=peer --loglevel=error".split(" "),
  `node-llama-cpp@${peerVersion}`,
  `@node-llama-cpp/${platform}@${peerVersion}`,
];
const { status } = spawnSync("npm", npmArguments, { stdio: "inherit", shell: process.platform === "win32" });
if (status !== 0 || installedPeer() !== peerVersion) {
  console.error("npm could not install node-llama-cpp");
  process.exit(1);
}
console.log(`node-llama-cpp ${peerVersion} in ${peerFolder}, binaries: ${readdirSync(binaries).join(", ")}`);
