/**
 * Bytes a generated token has to read. Weights are read once a step, so the streams of a batch share them; each stream
 * reads the keys and values of its own prefix. The tokens generated during the test add to the prefix, and are left out:
 * the share of the ceiling is never flattered. So is what a screened head may read or not (forward/head_screen.h), when
 * few streams decode, and so are all keys and values where lookup attention chooses which to read, and all layers' weights
 * where activation sparsity does.
 */
import { binding, type NativeFile } from "../binding/index.js";
import type { Model } from "../engine/index.js";
import { pagePositions } from "../limits.js";
import type { ModelInfo } from "../types.js";
import type { BenchTest } from "./tests.js";

/** Rows of a step that a screened head takes. */
const mostScreened = 6;

export interface ReadBytes {
  /** All weights, but of an embedding that is not also the output head one row only. */
  weights: number;
  /** Of those, what a step of up to `mostScreened` streams may leave unread. */
  screened: number;
  /** Keys and values of one position in all layers. */
  kvPerPosition: number;
  layers: number;
  /** Layers that see `window` positions only. */
  slidingLayers: number;
  window: number;
}

/** What Lutra reads: the packed weights, and its cache as it was laid out. */
export function lutraReadBytes(model: Model): ReadBytes {
  const file = binding.inspectFile(model.info.path);
  const { weightsBytes, kvBytes } = model.estimate();
  return {
    weights: (model.info.ffnSparsity === false ? weightsBytes : headBytes(file)) - unreadBytes(file),
    screened: model.screenedBytes,
    kvPerPosition: model.info.attention.type === "exact" ? kvBytes / (model.metrics().pages * pagePositions) : 0,
    ...slidingShape(file, model.info),
  };
}

/** What an engine reads that keeps the file's weights as they are and f16 keys and values. */
export function fileReadBytes(info: ModelInfo): ReadBytes {
  const file = binding.inspectFile(info.path);
  return {
    weights: file.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) - unreadBytes(file),
    screened: 0,
    kvPerPosition: info.nLayers * info.nKvHeads * info.headDim * 2 * 2,
    ...slidingShape(file, info),
  };
}

export function bytesPerToken(bytes: ReadBytes, { depth, batch }: Pick<BenchTest, "depth" | "batch">): number {
  const { layers, slidingLayers, window } = bytes;
  const positions = (layers - slidingLayers) * depth + slidingLayers * Math.min(depth, window);
  const weights = (bytes.weights - (batch <= mostScreened ? bytes.screened : 0)) / batch;
  return weights + (bytes.kvPerPosition / layers) * positions;
}

/** Weights outside the layers. */
function headBytes({ tensors }: NativeFile): number {
  const outside = tensors.filter(({ name }) => !name.startsWith("blk."));
  return outside.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function unreadBytes({ tensors }: NativeFile): number {
  const tied = !tensors.some(({ name }) => name === "output.weight");
  return tied ? 0 : (tensors.find(({ name }) => name === "token_embd.weight")?.sizeBytes ?? 0);
}

/** Gemma 3 alone has sliding layers here: all but every sixth, unless the file says another period. */
function slidingShape(
  { metadata }: NativeFile,
  info: ModelInfo,
): Pick<ReadBytes, "layers" | "slidingLayers" | "window"> {
  const layers = info.nLayers;
  const window = Number(metadata["gemma3.attention.sliding_window"] ?? 0);
  const period = Number(metadata["gemma3.attention.sliding_window_pattern"] ?? 6);
  if (info.architecture !== "gemma3" || window === 0) return { layers, slidingLayers: 0, window: 0 };
  return { layers, slidingLayers: layers - Math.floor(layers / period), window };
}
