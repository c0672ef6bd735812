/** Points of the curves: methods × shares kept, each an option as loadModel takes it. What is asked for first stands first. */
import { binding } from "../../dist/esm/binding/index.js";
import { sparsitySites } from "../../dist/esm/worker/sparsity/sites.js";

/** Options of a point by its share kept; methods of one line of a figure. */
const methods = {
  "down-only": (keep) => [{ type: "down-only", keep }],
  cats: (keep) => [{ type: "cats", keep }],
  teal: (keep) => spread({ type: "teal", keep }),
  wina: (keep) => spread({ type: "wina", keep }),
  random: (keep) => (keep === 0.75 ? [{ type: "random", keep }] : []),
  // Inputs lighter than hidden channels: with two matrices behind the first and one behind the second, 2 · 0.1 = 0.2, so
  // that a point reads as many weights as the uniform ones at the same share.
  dip: (keep) => {
    const [input, hidden] = [Math.min(1, keep + 0.1), keep - 0.2].map((share) => Number(share.toFixed(4)));
    return hidden > 0 ? [{ type: "dip", keep: input, keepHidden: hidden, allocation: "uniform" }] : [];
  },
  "teal+attention": (keep) => spread({ type: "teal", keep, attention: true }),
  "wina+attention": (keep) => spread({ type: "wina", keep, attention: true }),
  "wina-published": (keep) => spread({ type: "wina", keep, norms: "published" }),
  "wina-published+attention": (keep) => spread({ type: "wina", keep, norms: "published", attention: true }),
};

export const methodNames = Object.keys(methods);

/** [{ method, keep, option }]; `keep` is the nominal share, what the point is called by. */
export function listPoints(names, keeps) {
  return names.flatMap((method) => {
    const options = keeps.map((keep) => methods[method](keep).map((option) => ({ method, keep, option })));
    return ["uniform", "prior", undefined].flatMap((allocation) =>
      options.flat().filter(({ option }) => option.allocation === allocation),
    );
  });
}

/** Two points with the same name are the same. */
export function pointName({ method, option }) {
  return `${method} ${JSON.stringify(option)}`;
}

function spread(option) {
  return ["uniform", "prior"].map((allocation) => ({ ...option, allocation }));
}

const siteOf = { attn_q: 0, attn_k: 0, attn_v: 0, attn_output: 1, ffn_gate: 2, ffn_up: 2, ffn_down: 3 };

/** Share of the layers' weights that a token reads with such a plan, were every channel kept read and no other. */
export function layerShare(model, { keeps }) {
  let [read, all] = [0, 0];
  for (const { name, rows, cols } of binding.modelTensors(model)) {
    const [, layer, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
    if (part === undefined || siteOf[part] === undefined) continue;
    all += rows * cols;
    read += rows * cols * keeps[Number(layer) * sparsitySites.length + siteOf[part]];
  }
  return read / all;
}
