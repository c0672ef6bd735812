/**
 * One engine in a process of its own, driven by messages: { task, ... } in, { ms, ... } out. Between messages it waits in
 * the event loop and takes no processor time. Times are of the task alone, without the message's way here and back.
 */
import { readFileSync } from "node:fs";
import { engines } from "./engines.mjs";

const threads = Number(process.argv[3]);
const load = await engines[process.argv[2]].start(threads);
let engine;

/** Peak and present resident bytes of this process (Linux; elsewhere null). */
function memory() {
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    const bytes = (field) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)[1]) * 1024;
    return { peakBytes: bytes("VmHWM"), residentBytes: bytes("VmRSS") };
  } catch {
    return null;
  }
}

async function timed(work) {
  const start = process.hrtime.bigint();
  const tokens = await work();
  return { ms: Number(process.hrtime.bigint() - start) / 1e6, tokens };
}

const tasks = {
  async load({ path }) {
    const { ms } = await timed(async () => {
      engine = await load(path, threads);
    });
    return { ms, info: engine.info };
  },
  async unload() {
    await engine.unload();
    engine = undefined;
    return {};
  },
  prompt: ({ ids }) => timed(() => engine.prompt(ids)),
  decode: ({ ids, n }) => timed(() => engine.decode(ids, n)),
  memory: () => memory(),
  cpu: () => process.cpuUsage(),
};

process.on("message", async ({ task, ...input }) => {
  if (task === "exit") process.exit(0);
  try {
    process.send({ result: await tasks[task](input) });
  } catch (error) {
    process.send({ error: String(error?.stack ?? error) });
  }
});
process.on("disconnect", () => process.exit(1));
process.send({ result: memory() });
