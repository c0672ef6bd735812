/**
 * Decoding goes on from pages that were moved: copied to other places of the arena, or read out and written into the
 * arena of a fresh engine. Every bit of the logits must be that of the sequence that never moved.
 */
import { createHash } from "node:crypto";
import type { Test } from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import type { KvCacheType } from "../../dist/esm/binding/native.js";
import { pagePositions } from "../../dist/esm/limits.js";
import { NativeSession } from "./native-session.js";

export interface PageMoves {
  path: string;
  kvType: KvCacheType;
  /** Token ids: the first `prompt` are fed before the move, the others one by one after it. */
  ids: readonly number[];
  prompt: number;
}

const chunk = 64;

function decode(session: NativeSession, { ids, prompt }: PageMoves): string {
  const hash = createHash("sha256");
  session.seek(prompt);
  session.feed(ids.slice(prompt), 1, (_, logits) =>
    hash.update(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength)),
  );
  return hash.digest("hex");
}

export function checkPageMoves(t: Test, moves: PageMoves): void {
  const { path, kvType, ids, prompt } = moves;
  const maxPositions = Math.ceil(ids.length / pagePositions) * pagePositions;
  const pages = maxPositions / pagePositions;
  const filled = Math.ceil(prompt / pagePositions);
  const options = { kvType, maxPositions, sequences: 3, threads: 2 };
  const session = new NativeSession(path, options);
  const home = Int32Array.from({ length: pages }, (_, i) => i);
  // Backwards and among the places of the other two sequences, so that no page keeps its neighbours.
  const away = Int32Array.from({ length: pages }, (_, i) => 3 * pages - 1 - i);
  session.feed(ids.slice(0, prompt), chunk, () => {});

  session.usePages(away);
  const empty = decode(session, moves);
  const pairs = Int32Array.from({ length: 2 * filled }, (_, i) => (i % 2 === 0 ? home : away)[i >> 1] as number);
  binding.engineCopyPages(session.engine, pairs);
  const { pageBytes } = binding.engineInfo(session.engine);
  const bytes = new Uint8Array(filled * pageBytes);
  binding.engineReadPages(session.engine, away.subarray(0, filled), prompt, bytes);
  const copied = decode(session, moves);
  session.usePages(home);
  const reference = decode(session, moves);
  t.not(empty, reference, "pages nobody filled give other logits");
  t.equal(copied, reference, "copied pages");

  const again = new Uint8Array(bytes.length);
  binding.engineReadPages(session.engine, home.subarray(0, filled), prompt, again);
  t.ok(Buffer.from(bytes).equals(again), "the same bytes wherever the pages lie and whatever their last slots hold");
  session.dispose();

  const fresh = new NativeSession(path, { ...options, threads: 1 });
  fresh.usePages(away);
  binding.engineWritePages(fresh.engine, away.subarray(0, filled), bytes);
  t.equal(decode(fresh, moves), reference, "pages written into a fresh engine");
  fresh.dispose();
}
