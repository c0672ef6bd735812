// A fresh process that loads a saved session and goes on: argv is the model, load options, the file, the prompt. Reports the
// answer, what restoring took, and what reading the same history again takes.
import { loadModel } from "../../dist/esm/index.js";

const [path = "", options = "{}", file = "", prompt = ""] = process.argv.slice(2);
const model = await loadModel(path, JSON.parse(options));
// The first step of an engine touches its memory; neither side pays for that.
await model.generate("warm", { maxTokens: 2, temperature: 0 });

const begin = performance.now();
const session = await model.loadSession(file);
const loadMs = performance.now() - begin;
const history = session.tokens;
const answer = await session.generate(prompt, { maxTokens: 64, temperature: 0, ignoreEos: true });
const restoreMs = loadMs + answer.timings.promptMs;

const reading = model.session({ tokens: history });
const again = await reading.generate(prompt, { maxTokens: 64, temperature: 0, ignoreEos: true });
await model.dispose();
process.stdout.write(
  JSON.stringify({
    history: history.length,
    tokens: answer.tokens,
    again: again.tokens,
    loadMs,
    restoreMs,
    readMs: again.timings.promptMs,
  }),
);
