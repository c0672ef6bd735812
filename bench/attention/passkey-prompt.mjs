/** A pass key in filler: the same prompt for the same length and depth, wherever it is made. */

const filler = [
  "The river was low that summer, and children crossed it on flat stones.",
  "A baker on the corner opened at five and sold out before nine.",
  "In the evening the wind came down from the hills and moved the curtains.",
  "Nobody could say when the clock in the square had stopped.",
  "The ferry carried apples, letters and now and then a piano.",
  "Two herons stood in the shallow water and did not move for an hour.",
  "She kept the receipts in a tin box under the stairs.",
  "The road to the quarry was closed in winter and muddy in spring.",
  "An old map on the wall showed a bridge that was never built.",
  "They painted the boat green, as they had every year.",
];
const questionText = "\nWhat is the pass key? The pass key is";

/**
 * `length` tokens, the key at the share `depth` of the filler. `questionAt` is the position of the question's first token.
 * Pieces are encoded one by one, so that the key's tokens are the same at every depth.
 */
export function passkeyPrompt(model, length, depth) {
  const key = String(10000 + (((Math.round(depth * 1000) + 1) * 7919 + length * 104729) % 90000));
  const encode = (text) => model.tokenize(text, { addSpecial: false });
  const needle = encode(` The pass key is ${key}. Remember it: ${key} is the pass key.`);
  const question = encode(questionText);
  const { bos } = model.info;
  const start = model.tokenize("a")[0] === bos ? [bos] : [];
  const room = length - start.length - needle.length - question.length;
  const ids = [];
  for (let i = 0; ids.length < room; i++) ids.push(...encode(` ${filler[(i * 7 + (i >> 3)) % filler.length]}`));
  ids.length = room;
  // At the end of a sentence, so that the filler stays readable.
  const ends = ids.flatMap((_, at) => (at === 0 || model.detokenize([ids[at - 1]]).endsWith(".") ? [at] : []));
  const at = ends.reduce((best, end) => (Math.abs(end - depth * room) < Math.abs(best - depth * room) ? end : best));
  const questionAt = length - question.length;
  return { key, ids: [...start, ...ids.slice(0, at), ...needle, ...ids.slice(at), ...question], questionAt };
}
