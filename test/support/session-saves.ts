/** Saves in a process of their own, and what lies in the file afterwards: the whole of image 1, of image 2, or nothing. */
import { execFile, type ExecFileOptions } from "node:child_process";
import { readSession, type SessionIdentity } from "../../dist/esm/session/index.js";

/** Large enough that a save takes several chunks, small enough that it takes a few milliseconds. */
export const identity: SessionIdentity = {
  fingerprint: "ab".repeat(32),
  kvCacheType: "q8_0",
  pageBytes: 98_304,
  pagePositions: 32,
  nLayers: 8,
  nKvHeads: 2,
  headDim: 64,
  vocabSize: 100,
};

/** Positions of the two images: 1 takes three mebibytes, 2 takes two. */
export const sizes = { 1: 1024, 2: 700 };
export const shape = JSON.stringify({ identity, sizes });

/** Which image the file is, whole and alone. @throws what readSession throws, and when it is a mix of two */
export async function imageIn(file: string): Promise<1 | 2> {
  const { tokens, computed, pages } = await readSession(file, { identity, contextSize: 4096 });
  const n = tokens[0] as 1 | 2;
  const whole = computed === sizes[n] && tokens.length === sizes[n];
  if (!whole || tokens.some((token) => token !== n) || pages.some((byte) => byte !== n))
    throw new Error(`${file} is a mix`);
  return n;
}

/** Node as a command line, without the loaders tap gives to every child: they take longer to start than a save takes. */
export const plainNode = ["env", "-u", "NODE_OPTIONS", process.execPath] as const;

/** Runs a program to its end; null for the code of one that was killed. */
export function run(
  program: string,
  args: string[],
  options: ExecFileOptions = {},
): Promise<{ code: number | null; stdout: string }> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { ...options, encoding: "utf8", timeout: 60_000 }, (_, stdout) =>
      resolve({ code: child.exitCode, stdout: String(stdout) }),
    );
  });
}
