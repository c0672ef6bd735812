/** A run of `lutra bench`: what its flags ask for is measured and reported. */
import {
  type BenchRow,
  type BenchTest,
  bytesPerToken,
  fileReadBytes,
  findPeer,
  listTests,
  lutraReadBytes,
  measureLutra,
  measureSparsity,
  neededContext,
  peerName,
  PeerProcess,
  peerVersion,
  profileLutra,
  runTest,
  type Subject,
  testName,
} from "../../bench/index.js";
import { type Model, nameAttention, nameMatmul, nameSparsity } from "../../engine/index.js";
import { openModel } from "../input.js";
import { techniqueOptions } from "../options.js";
import { note, spin, UsageError } from "../terminal.js";
import type { BenchFlags } from "./flags.js";
import { toMarkdown } from "./output.js";
import { baseOf, formatOf, report } from "./report.js";

export async function runBench(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  const format = formatOf(flags);
  const tests = listTests(flags);
  if (tests.length === 0) throw new UsageError("nothing to measure: -p and -n are both 0");
  const base = await baseOf(flags);
  const peerFolder = flags.peer === undefined ? undefined : findPeer();
  if (peerFolder === null) throw new UsageError(missingPeer(flags.peer as string));

  const contextSize = neededContext(tests);
  const maxSequences = Math.max(...flags.batch);
  await using model = await openModel(
    flags,
    { ...techniqueOptions(flags), speculation: "off", contextSize, maxSequences },
    signal,
  );
  await using peer = peerFolder === undefined ? undefined : await openPeer(peerFolder, model, signal);
  const subjects = subjectsOf(model, peer, signal);
  const rows: BenchRow[] = [];
  for (const test of tests)
    rows.push(...(await runOne(test, { model, subjects, flags, signal, quiet: format === "md" })));
  await report(rows, {
    format,
    model,
    base,
    toMarkdown,
    peer: peerFolder && `, ${peerName} ${peerVersion(peerFolder)}`,
  });
}

function missingPeer(name: string): string {
  const where = process.env["LUTRA_PEER"] ? `in ${process.env["LUTRA_PEER"]} (LUTRA_PEER)` : "here";
  return `--peer: ${name} is not installed ${where}; npm install ${name}, or set LUTRA_PEER to the folder whose node_modules holds it`;
}

function openPeer(folder: string, model: Model, signal: AbortSignal): Promise<PeerProcess> {
  const { path, threads, contextSize, vocabSize } = model.info;
  return spin("load the peer", () => PeerProcess.start({ folder, path, threads, contextSize, vocabSize, signal }));
}

function subjectsOf(model: Model, peer: PeerProcess | undefined, signal: AbortSignal): Subject[] {
  const ours = lutraReadBytes(model);
  const subjects: Subject[] = [
    {
      engine: "lutra",
      bytesPerToken: (test) => bytesPerToken(ours, test),
      measure: (test, round) => measureLutra(model, test, round, { signal }),
    },
  ];
  if (peer !== undefined) {
    const theirs = fileReadBytes(model.info);
    subjects.push({
      engine: peerName,
      bytesPerToken: (test) => bytesPerToken(theirs, test),
      measure: (test, round) => peer.measure(test, round),
    });
  }
  return subjects;
}

interface Bench {
  model: Model;
  subjects: Subject[];
  flags: BenchFlags;
  signal: AbortSignal;
  quiet: boolean;
}

async function runOne(test: BenchTest, { model, subjects, flags, signal, quiet }: Bench): Promise<BenchRow[]> {
  const { repetitions } = flags;
  const { threads } = model.info;
  const name = testName(test);
  const attention = nameAttention(model.info.attention);
  const matmul = nameMatmul(model.info.matmul);
  const techniques = { ...(attention && { attention }), ...(matmul && { matmul }) };
  const measured = await spin(name, () => runTest(test, subjects, { repetitions, threads, signal }));
  const sparsity = await sparsityOf(test, model, { round: repetitions + 1, signal });
  const rows = measured.map((row) => (row.engine === "lutra" ? { ...row, ...techniques, ...sparsity } : row));
  if (!quiet) for (const row of rows) note(progressLine(row));
  if (!flags.profile) return rows;
  const profile = await spin(`${name} profile`, () => profileLutra(model, test, repetitions + 1, signal));
  return rows.map((row) => (profile && row.engine === "lutra" ? { ...row, profile } : row));
}

/** Columns of a generation test's row, where layers skip channels. */
async function sparsityOf(
  test: BenchTest,
  model: Model,
  { round, signal }: { round: number; signal: AbortSignal },
): Promise<Partial<BenchRow>> {
  const name = nameSparsity(model.info.ffnSparsity);
  if (name === undefined || test.kind !== "tg") return {};
  const measured = await spin(`${testName(test)} sparsity`, () => measureSparsity(model, test, round, signal));
  return { ffn_sparsity: name, ...measured };
}

function progressLine({ test, engine, tokens_per_second, share_of_ceiling: share }: BenchRow): string {
  const ofCeiling = share === null ? "" : `, ${(share * 100).toFixed(0)} % of the read ceiling`;
  return `${test}, ${engine}: ${tokens_per_second.toFixed(1)} tokens/s${ofCeiling}`;
}
