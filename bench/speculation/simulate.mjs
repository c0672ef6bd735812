/**
 * One answer of a trace, decoded again with drafts: what a step proposes, verifies and accepts, as the worker does it, and
 * what it would take by a curve of step times. The trace knows what was likely on the path that the text took; for rejected
 * rows it knows nothing, so recycling learns less here than it does in truth, and jacobi nothing at all.
 */
import { RequestDrafts, childRow, chooseNodes, orderRows } from "../../dist/esm/speculation/index.js";

export const bins = 10;

export function emptyScore() {
  return {
    tokens: 0,
    steps: 0,
    time: 0,
    drafted: 0,
    accepted: 0,
    microseconds: 0,
    perDrafter: {},
    widths: [],
    /** Of nodes with a probability in each tenth: how many, the sum of their probabilities, how many came true. */
    calibration: Array.from({ length: bins }, () => ({ count: 0, claimed: 0, true: 0 })),
  };
}

export function addScore(sum, { calibration, perDrafter, widths, ...counts }) {
  for (const [name, value] of Object.entries(counts)) sum[name] += value;
  calibration.forEach((bin, i) => {
    for (const name of Object.keys(bin)) sum.calibration[i][name] += bin[name];
  });
  for (const [source, { drafted, accepted }] of Object.entries(perDrafter)) {
    sum.perDrafter[source] ??= { drafted: 0, accepted: 0 };
    sum.perDrafter[source].drafted += drafted;
    sum.perDrafter[source].accepted += accepted;
  }
  widths.forEach((count, rows) => {
    sum.widths[rows] = (sum.widths[rows] ?? 0) + count;
  });
}

/** `time`: of a step by its rows, 1 for one. `most`: nodes of a step. */
export function simulate(trace, shared, time, most) {
  const { prompt, tokens } = trace;
  const score = emptyScore();
  const likeliest = likeliestOf(trace);
  const request = new RequestDrafts(shared, prompt);
  // The prompt's own step gives the first token.
  request.observe(prompt.at(-1), likeliest(0), 0);
  request.accept([], [tokens[0]]);
  for (let at = 1; at < tokens.length; ) {
    const began = performance.now();
    if (request.mayDraft()) request.propose(tokens.length - at);
    const { isForced } = shared;
    const [nodes] = chooseNodes([request.tree], time, { most, mostOfTree: most, isForced });
    const rows = orderRows(request.tree, nodes);
    const drafted = performance.now();
    compare(score.calibration, request.tree, tokens, at);
    const compared = performance.now();
    const first = at;
    for (let row = 0; row >= 0 && at < tokens.length; at++) {
      request.observe(rows.tokens[row], likeliest(at), rows.depths[row]);
      row = childRow(rows, row, tokens[at]);
    }
    request.accept(nodes, tokens.slice(first, at));
    score.microseconds += 1000 * (performance.now() - compared + drafted - began);
    score.time += time(rows.count);
    score.steps++;
  }
  const { drafted, accepted, perDrafter, widths } = request.stats;
  return { ...score, tokens: tokens.length - 1, drafted, accepted, perDrafter, widths };
}

function likeliestOf({ topIds, topLogprobs }) {
  const ids = topIds.map((row) => Int32Array.from(row));
  const logits = topLogprobs.map((row) => Float32Array.from(row));
  return (at) => ({ ids: ids[at], logits: logits[at], offset: 0, count: ids[at].length, logSumExp: 0 });
}

/** What the tree claims, against what came. */
function compare(calibration, tree, tokens, at) {
  const isTrue = new Uint8Array(tree.count);
  isTrue[0] = 1;
  for (let node = 1; node < tree.count; node++) {
    const right = tokens[at + tree.depths[node] - 1] === tree.tokens[node] && isTrue[tree.parents[node]] === 1;
    isTrue[node] = right ? 1 : 0;
    const bin = calibration[Math.min(bins - 1, Math.floor(bins * tree.probability[node]))];
    bin.count++;
    bin.claimed += tree.probability[node];
    bin.true += isTrue[node];
  }
}
