/** `lutra inspect`: what a model file holds, and what loading it would take. */
import type { Command } from "commander";
import type { NativeFile } from "../binding/index.js";
import { describeValue, toLutraError } from "../errors.js";
import type { MatmulForm, MatmulInfo, MemoryEstimate } from "../types.js";
import { findModel, openModel } from "./input.js";
import { describeForms } from "./matmul-forms.js";
import { addCompute, addContext, type ModelFlags, option, techniqueOptions } from "./options.js";
import { note, print, printJson, runCommand } from "./terminal.js";

interface InspectFlags extends ModelFlags {
  ctxSize?: number;
  load: boolean;
  matmul?: string;
}

interface Loaded {
  memory: MemoryEstimate;
  contextSize: number;
  matmul: MatmulInfo;
  kernels: Map<string, string>;
}

export function registerInspect(program: Command): void {
  const command = program
    .command("inspect")
    .description("what a model file holds: metadata, tensors, memory estimate, the kernel path of each tensor")
    .argument("[model]", "the same as -m")
    .addOption(option("--no-load", "read the header only: no memory estimate, no kernel paths"))
    .addOption(option("--matmul <kind>", "matrix products: auto, dot or lut"));
  addContext(addCompute(command)).action((model: string | undefined, flags: InspectFlags) =>
    runCommand((signal) => inspect({ ...flags, model: model ?? flags.model }, signal)),
  );
}

async function inspect(flags: InspectFlags, signal: AbortSignal): Promise<void> {
  const path = await findModel(flags, signal);
  const { binding } = await import("../binding/index.js");
  const file = binding.inspectFile(path);
  let loaded: Loaded | undefined;
  let reason: string | undefined;
  if (flags.load) {
    try {
      loaded = await load(path, flags, signal);
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      reason = toLutraError(thrown).message;
    }
  }
  if (flags.json) return printJson(toDocument(file, loaded, reason));
  await print(toText(file, loaded));
  if (reason !== undefined) note(`cannot be loaded: ${reason}`);
}

async function load(path: string, flags: InspectFlags, signal: AbortSignal): Promise<Loaded> {
  const [{ binding }, { tilesOf }] = await Promise.all([import("../binding/index.js"), import("../engine/index.js")]);
  const options = { contextSize: flags.ctxSize || undefined, ...techniqueOptions({ matmul: flags.matmul }) };
  await using model = await openModel({ ...flags, model: path }, options, signal);
  const { threads, contextSize, matmul } = model.info;
  // Shares the copy that is in memory already.
  const handle = binding.modelAcquire(path, threads, new Int32Array(1), undefined, tilesOf(matmul));
  try {
    const kernels = new Map(binding.modelTensors(handle).map((tensor) => [tensor.name, tensor.kernel]));
    return { memory: model.estimate(), contextSize, matmul, kernels };
  } finally {
    binding.modelRelease(handle);
  }
}

function toDocument(file: NativeFile, loaded: Loaded | undefined, reason: string | undefined) {
  const { memory } = loaded ?? {};
  return {
    paths: file.paths,
    version: file.version,
    alignment: file.alignment,
    size_bytes: file.sizeBytes,
    metadata: file.metadata,
    tensors: file.tensors.map(({ name, type, shape, sizeBytes, offsetBytes, supported }) => ({
      name,
      type,
      shape,
      size_bytes: sizeBytes,
      offset_bytes: offsetBytes,
      supported,
      kernel: loaded?.kernels.get(name) ?? null,
    })),
    loadable: loaded !== undefined ? true : reason === undefined ? null : false,
    ...(reason !== undefined && { reason }),
    matmul: loaded && matmulDocument(loaded.matmul),
    memory: memory && {
      context_size: loaded?.contextSize,
      weights_bytes: memory.weightsBytes,
      kv_bytes: memory.kvBytes,
      scratch_bytes: memory.scratchBytes,
      total_bytes: memory.totalBytes,
    },
  };
}

function matmulDocument(matmul: MatmulInfo) {
  if (matmul.type !== "auto") return matmul;
  const times = (form: MatmulForm) =>
    form.times.map(({ columns, dotUs, lutUs }) => ({ columns, dot_us: dotUs, lut_us: lutUs }));
  return { type: matmul.type, forms: matmul.forms.map((form) => ({ ...form, times: times(form) })) };
}

function toText(file: NativeFile, loaded: Loaded | undefined): string {
  const lines = file.paths.map((path) => `file      ${path}`);
  lines.push(`format    GGUF v${file.version}, ${file.sizeBytes} bytes, alignment ${file.alignment}`);
  if (loaded) {
    const { weightsBytes, kvBytes, scratchBytes, totalBytes } = loaded.memory;
    const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
    lines.push(
      `memory    ${mb(totalBytes)}: weights ${mb(weightsBytes)}, K/V of ${loaded.contextSize} positions ${mb(kvBytes)}, scratch ${mb(scratchBytes)}`,
    );
  }
  if (loaded) lines.push(...describeForms(loaded.matmul));
  lines.push("", "metadata");
  for (const [key, value] of Object.entries(file.metadata)) {
    const shown = typeof value === "object" ? `${value.type}[${value.length}]` : describeValue(value);
    lines.push(`  ${JSON.stringify(key).slice(1, -1)} = ${shown}`);
  }
  lines.push("", `tensors (${file.tensors.length})`);
  for (const { name, type, shape, supported } of file.tensors) {
    const kernel = loaded?.kernels.get(name) ?? (supported ? "" : "not supported");
    lines.push(
      `  ${JSON.stringify(name).slice(1, -1).padEnd(32)} ${type.padEnd(8)} ${shape.join(" × ").padEnd(16)} ${kernel}`.trimEnd(),
    );
  }
  return `${lines.join("\n")}\n`;
}
