/** Prompts of `lutra bench --speculation`: a JSON-lines file, or a few of our own. */
import { createError } from "../../errors.js";

export interface SpeculationPrompt {
  category: string;
  text: string;
  /** It is continued as it stands, without the model's chat template. */
  isCompletion?: boolean;
}

const code = `export function summarize(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  const mean = samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
  const deviation = Math.sqrt(samples.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / (samples.length - 1));
  return { median, mean, deviation, samples };
}`;
const passage = `The otter is a member of the weasel family that lives in and near water. Thirteen species are known. Most hunt fish,
crayfish and frogs in rivers; the sea otter spends nearly all of its life in the sea and cracks shells with stones. Their fur is the
densest of all mammals, up to one hundred thousand hairs on a square centimetre, which kept them warm and nearly cost them their
existence: by 1911 the fur trade had left fewer than two thousand sea otters. Protected since, they have come back on many coasts.`;

const builtIn: SpeculationPrompt[] = [
  { category: "editing", text: `Repeat this file, with "samples" renamed to "values":\n\n${code}\n` },
  { category: "editing", text: `Copy the following text word for word:\n\n${passage}\n` },
  { category: "summarization", text: `Summarize this text in three sentences:\n\n${passage}\n` },
  {
    category: "retrieval",
    text: `${passage}\n\nAnswer from the text above: how many sea otters were left in 1911, and why?`,
  },
  { category: "chat", text: "Write a friendly letter to a neighbour who has lent you a ladder." },
  { category: "chat", text: "Which three things should I see on a first visit to a science museum, and why?" },
  { category: "qa", text: "Why is the sky blue, and why are sunsets red?" },
  {
    category: "math",
    text: "A baker sells 36 loaves a day at 3 dollars each, and pays 40 dollars a day for flour. What does she earn in a week?",
  },
  {
    category: "translation",
    text: "Translate into French: The river was high, and the ferryman would not cross before noon.",
  },
];

/** Each line has a `category` (default: "all") and a `prompt`, a `question` or `turns`, of which the first is taken. */
export function parsePrompts(text: string, file: string): SpeculationPrompt[] {
  const prompts = text
    .split("\n")
    .flatMap((line, i) => (line.trim() === "" ? [] : [parseLine(line, `${file}:${i + 1}`)]));
  if (prompts.length === 0) throw createError("INVALID_OPTION", `${file}: expected a prompt a line, got none`);
  return prompts;
}

export function builtInPrompts(): SpeculationPrompt[] {
  return builtIn;
}

function parseLine(line: string, place: string): SpeculationPrompt {
  const expected = `${place}: expected a JSON object with prompt, question or turns`;
  let value: Record<string, unknown>;
  try {
    value = Object(JSON.parse(line)) as Record<string, unknown>;
  } catch (cause) {
    throw createError("INVALID_OPTION", `${expected}, got a line that is no JSON`, { cause });
  }
  const { category = "all", prompt, question, turns } = value;
  const text = prompt ?? question ?? (Array.isArray(turns) ? turns[0] : undefined);
  if (typeof text !== "string" || text === "" || typeof category !== "string")
    throw createError("INVALID_OPTION", `${expected}, got ${Object.keys(value).join(", ") || "none of them"}`);
  return { category, text };
}
