/** The prompts of the speculation benches by category: Spec-Bench (first turns), GSM8K, and files to edit. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { editingPrompts } from "./editing-prompts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const shared = process.env.LUTRA_SHARED ?? join(root, "..", "shared");

export const categories = ["chat", "translation", "summarization", "qa", "math", "retrieval", "editing"];
/** Categories of Spec-Bench that have another name here; the eight of MT-Bench are all "chat". */
const renamed = { translation: "translation", summarization: "summarization", qa: "qa", math_reasoning: "math", rag: "retrieval" };

/** At most `most` prompts of each category, spread over the files: { id, category, text, begin? }; `begin` is how the answer begins. */
export function readPrompts(most) {
  const specBench = readLines("data/spec-bench-half.jsonl").map(({ question_id, category, turns }) => ({
    id: `spec-bench-${question_id}`,
    category: renamed[category] ?? "chat",
    text: turns[0],
  }));
  const gsm8k = readLines("data/gsm8k-100.jsonl").map(({ question }, i) => ({
    id: `gsm8k-${i}`,
    category: "math",
    text: question,
  }));
  const all = [...specBench, ...gsm8k, ...editingPrompts];
  return categories.flatMap((category) => {
    const own = all.filter((prompt) => prompt.category === category);
    const count = Math.min(most, own.length);
    return Array.from({ length: count }, (_, i) => own[Math.floor((i * own.length) / count)]);
  });
}

function readLines(name) {
  const path = join(shared, name);
  if (!existsSync(path)) throw new Error(`${path} is not there; LUTRA_SHARED names the folder of shared data`);
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}
