/**
 * Writes a llama model of any shape with random weights, to measure speed at sizes nobody wants to download. It is a
 * valid GGUF file that any engine loads; what it generates means nothing. Memory stays constant whatever the size.
 *
 *   node bench/synthetic/make-model.mjs --shape 1b|7b --type q4_k --out FILE
 *     [--layers N] [--dim N] [--heads N] [--kv-heads N] [--hidden N] [--vocab N] [--tied|--no-tied]
 *     [--head-type q6_k] [--context 16384] [--seed 1]
 */
import { closeSync, openSync, rmSync, writeSync, writevSync } from "node:fs";
import { parseArgs } from "node:util";
import { blockPool, normVector, repeatPool, types } from "./blocks.mjs";
import { encodeHeader, padded, tensorBytes } from "./header.mjs";
import { shapes, tensorsOf } from "./shapes.mjs";

const { values: flags } = parseArgs({
  allowNegative: true,
  options: {
    shape: { type: "string", default: "1b" },
    type: { type: "string", default: "q4_k" },
    "head-type": { type: "string" },
    out: { type: "string" },
    layers: { type: "string" },
    dim: { type: "string" },
    heads: { type: "string" },
    "kv-heads": { type: "string" },
    hidden: { type: "string" },
    vocab: { type: "string" },
    tied: { type: "boolean" },
    context: { type: "string", default: "16384" },
    seed: { type: "string", default: "1" },
  },
});

function fail(reason) {
  console.error(reason);
  process.exit(2);
}

function whole(name, fallback) {
  const value = Number(flags[name] ?? fallback);
  return Number.isInteger(value) && value > 0 ? value : fail(`--${name} is a whole number from 1`);
}

function typeNamed(name) {
  const type = name.toUpperCase();
  return types[type] ? type : fail(`unknown type ${name}; known: ${Object.keys(types).join(" ").toLowerCase()}`);
}

function readShape() {
  const preset = shapes[flags.shape] ?? fail(`unknown shape ${flags.shape}; known: ${Object.keys(shapes).join(" ")}`);
  const shape = {
    layers: whole("layers", preset.layers),
    dim: whole("dim", preset.dim),
    heads: whole("heads", preset.heads),
    kvHeads: whole("kv-heads", preset.kvHeads),
    hidden: whole("hidden", preset.hidden),
    vocab: whole("vocab", preset.vocab),
    tied: flags.tied ?? preset.tied,
    ropeBase: preset.ropeBase,
  };
  if (shape.dim % (2 * shape.heads) !== 0 || shape.heads % shape.kvHeads !== 0)
    fail(`${shape.dim} does not divide into ${shape.heads} heads of even size, or those into ${shape.kvHeads} groups`);
  if (shape.vocab < 258) fail("--vocab is at least 258: 256 bytes, begin and end");
  return shape;
}

/** The tensors with their types: norms are F32, the head's matrix may have a type of its own. */
function typedTensors(shape, type, headType) {
  const head = shape.tied ? "token_embd.weight" : "output.weight";
  return tensorsOf(shape).map((tensor) => {
    if (tensor.sigma === undefined) return { ...tensor, type: "F32" };
    const own = tensor.name === head ? headType : type;
    if (tensor.shape[0] % types[own].elements !== 0)
      fail(`${tensor.name}: rows of ${tensor.shape[0]} are not whole blocks of ${own} (${types[own].elements})`);
    return { ...tensor, type: own };
  });
}

/** Writes every byte: a single call may take at most 2 GiB. */
function writeAll(file, parts) {
  for (let left = parts; left.length > 0; ) {
    let written = writevSync(file, left.slice(0, 64));
    const rest = [];
    for (const part of left) {
      const taken = Math.min(written, part.length);
      written -= taken;
      if (taken < part.length) rest.push(part.subarray(taken));
    }
    left = rest;
  }
}

function writeTensors(file, tensors, seed) {
  const pools = new Map();
  tensors.forEach(({ type, shape, sigma }, index) => {
    const size = tensorBytes(type, shape);
    const parts = [];
    if (sigma === undefined) parts.push(normVector(shape[0], seed + index));
    else {
      const key = `${type} ${sigma}`;
      if (!pools.has(key)) pools.set(key, blockPool(type, sigma, seed + pools.size));
      // Each tensor starts elsewhere in the pool: layers are not copies of each other.
      parts.push(...repeatPool(pools.get(key), types[type].bytes, index * 7919, size));
    }
    parts.push(new Uint8Array(padded(size) - size));
    writeAll(file, parts);
  });
}

if (!flags.out) fail("--out FILE is needed");
const shape = readShape();
const type = typeNamed(flags.type);
const tensors = typedTensors(shape, type, typeNamed(flags["head-type"] ?? type));
const start = performance.now();
const file = openSync(flags.out, "w");
try {
  writeSync(file, encodeHeader(shape, type, whole("context"), tensors));
  writeTensors(file, tensors, whole("seed"));
} catch (error) {
  rmSync(flags.out);
  throw error;
} finally {
  closeSync(file);
}
const bytes = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor.type, tensor.shape), 0);
const seconds = (performance.now() - start) / 1000;
console.error(`${flags.out}: ${tensors.length} tensors, ${(bytes / 1e9).toFixed(2)} GB, ${seconds.toFixed(1)} s`);
