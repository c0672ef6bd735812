// Class K2: kill -9 at random instants of a save. Whatever the instant, the file is one whole image, and the next save works.
// LUTRA_TEST_KILLS sets how often (default 200).
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { writeSession } from "../../dist/esm/session/index.js";
import { compileChild } from "../support/compile-child.js";
import { identity, imageIn, plainNode, shape, sizes } from "../support/session-saves.js";

const kills = Number(process.env.LUTRA_TEST_KILLS ?? 200);
const lanes = 2;
/** A save takes about this long, so a kill falls anywhere in one. */
const longestMs = 30;

async function started(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the child ended with ${code}`)));
  });
}

t.test(`${kills} kills`, async (t) => {
  const folder = t.testdir({ program: {} });
  const child = compileChild("session-child.ts", join(folder, "program"));
  const found = { 1: 0, 2: 0 };
  let interrupted = 0;

  const runLane = async (lane: number): Promise<void> => {
    const saves = join(folder, `lane${lane}`);
    mkdirSync(saves);
    const file = join(saves, "a.session");
    const one = { identity, tokens: new Int32Array(sizes[1]).fill(1), computed: sizes[1] };
    const pages = new Uint8Array((sizes[1] / identity.pagePositions) * identity.pageBytes).fill(1);
    await writeSession(file, { ...one, pages });
    for (let i = 0; i < kills / lanes; i++) {
      const command = [...plainNode.slice(1), child, file, "loop", shape];
      const saver = spawn("env", command, { stdio: ["ignore", "pipe", "inherit"] });
      await started(saver);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * longestMs));
      const gone = new Promise((resolve) => saver.once("exit", resolve));
      saver.kill("SIGKILL");
      await gone;
      found[await imageIn(file)]++;
      if (readdirSync(saves).length > 1) interrupted++;
    }
    await writeSession(file, { ...one, pages });
    t.same(readdirSync(saves), ["a.session"], "a save removes what killed ones left");
  };
  await Promise.all(Array.from({ length: lanes }, (_, lane) => runLane(lane)));
  t.equal(found[1] + found[2], Math.floor(kills / lanes) * lanes);
  t.comment(
    `found image 1 ${found[1]} times, image 2 ${found[2]} times; ${interrupted} kills fell between open and rename`,
  );
  t.ok(interrupted > 0, "kills fell into saves");
});
