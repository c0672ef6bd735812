/** A run of `lutra bench`: what its flags ask for is measured and reported. */
import { cpus } from "node:os";
import {
  type BaseRow,
  type BenchRow,
  type BenchTest,
  bytesPerToken,
  fileReadBytes,
  findPeer,
  listTests,
  lutraReadBytes,
  measureLutra,
  neededContext,
  parseBase,
  peerName,
  PeerProcess,
  peerVersion,
  plotRows,
  profileLutra,
  runTest,
  type Subject,
  testName,
} from "../bench/index.js";
import type { Model } from "../engine/index.js";
import type { BenchFlags, BenchFormat } from "./bench-flags.js";
import { toCsv, toMarkdown, toProfiles, toRatios } from "./bench-output.js";
import { openModel, readTextFile } from "./input.js";
import { techniqueOptions } from "./options.js";
import { note, print, printJson, spin, UsageError } from "./terminal.js";

export async function runBench(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  if (flags.json && flags.output && flags.output !== "json")
    throw new UsageError(`--json and -o ${flags.output} exclude each other`);
  const format = flags.json ? "json" : (flags.output ?? "md");
  const tests = listTests(flags);
  if (tests.length === 0) throw new UsageError("nothing to measure: -p and -n are both 0");
  const base = flags.compare === undefined ? undefined : parseBase(await readTextFile(flags.compare), flags.compare);
  const peerFolder = flags.peer === undefined ? undefined : findPeer();
  if (peerFolder === null) throw new UsageError(missingPeer(flags.peer as string));

  const contextSize = neededContext(tests);
  const maxSequences = Math.max(...flags.batch);
  await using model = await openModel(flags, { ...techniqueOptions(flags), contextSize, maxSequences }, signal);
  await using peer = peerFolder === undefined ? undefined : await openPeer(peerFolder, model, signal);
  const subjects = subjectsOf(model, peer, signal);
  const rows: BenchRow[] = [];
  for (const test of tests)
    rows.push(...(await runOne(test, { model, subjects, flags, signal, quiet: format === "md" })));
  await report(rows, { format, model, base, peer: peerFolder && `, ${peerName} ${peerVersion(peerFolder)}` });
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
  const rows = await spin(name, () => runTest(test, subjects, { repetitions, threads, signal }));
  if (!quiet) for (const row of rows) note(progressLine(row));
  if (!flags.profile) return rows;
  const profile = await spin(`${name} profile`, () => profileLutra(model, test, repetitions + 1, signal));
  return rows.map((row) => (profile && row.engine === "lutra" ? { ...row, profile } : row));
}

function progressLine({ test, engine, tokens_per_second, share_of_ceiling: share }: BenchRow): string {
  const ofCeiling = share === null ? "" : `, ${(share * 100).toFixed(0)} % of the read ceiling`;
  return `${test}, ${engine}: ${tokens_per_second.toFixed(1)} tokens/s${ofCeiling}`;
}

interface Report {
  format: BenchFormat;
  model: Model;
  base: BaseRow[] | undefined;
  /** Its name and version for the title, after a comma. */
  peer: string | undefined;
}

/** The rows in their format on stdout; what that format has no place for on stderr. */
async function report(rows: readonly BenchRow[], { format, model, base, peer = "" }: Report): Promise<void> {
  const { name, isa, threads } = model.info;
  const ceilings = rows.map(({ read_ceiling_gb_s }) => read_ceiling_gb_s);
  const range = [...new Set([Math.min(...ceilings), Math.max(...ceilings)].map((value) => value.toFixed(1)))].join("–");
  const machine = `${cpus()[0]?.model.trim() || process.arch}, ${isa}, ${threads} threads, read ceiling ${range} GB/s${peer}`;
  if (format === "md") {
    await print(toMarkdown(rows, `${name}, ${machine}`, base));
    const profiles = toProfiles(rows);
    return print(profiles && `\n${profiles}`);
  }
  if (format === "json") await printJson(rows);
  else if (format === "csv") await print(toCsv(rows));
  else await print(await plotRows(rows, { model: name, subtitle: machine }));
  if (base) note(toRatios(rows, base).trimEnd());
  const profiles = format === "json" ? "" : toProfiles(rows);
  if (profiles) note(profiles.trimEnd());
}
