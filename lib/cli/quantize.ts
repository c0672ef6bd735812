/** `lutra quantize`: a model file with its matrices in another type. */
import type { Command } from "commander";
import type { QuantizedTensor, QuantizeResult, TargetType } from "../quantization/index.js";
import { pullReporter } from "./input.js";
import { addJson, option, positive } from "./options.js";
import { createBar, note, print, printJson, runCommand } from "./terminal.js";

interface QuantizeFlags {
  type: string;
  outputType?: string;
  embeddingType?: string;
  force?: boolean;
  threads?: number;
  offline?: boolean;
  json?: boolean;
}

const help = `
Types: f32 f16 bf16 q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0 iq4_nl iq4_xs q3_k q2_k mxfp4, and tq2_0 tq1_0 for
ternary models.
Matrices get the type; the embedding and the output get q6_k, or the type where it is finer; vectors, norms and what has fewer
than 1,024 weights stay as they are. Rows that are not whole blocks get the next type that fits: q2_k, q3_k, iq4_xs → iq4_nl;
q4_k → q5_0; q5_k → q5_1; q6_k → q8_0; tq1_0, tq2_0 → q4_0; all of these → f16. Metadata is kept. Scales are
searched for the least squared error.
The source should be in F32, F16, BF16 or Q8_0: others work, with a warning. An error is the root mean square of the
difference, in percent of that of the weights.`;

export function registerQuantize(program: Command): void {
  const command = program
    .command("quantize")
    .description("write a model file with its weights in another type")
    .argument("<in>", "the source: a name, a path (of a split model, its first part) or hf:user/repo:file.gguf")
    .argument("<out>", "the file to write")
    .addOption(option("--type <type>", "type of the matrices").makeOptionMandatory())
    .addOption(option("--output-type <type>", "type of output.weight"))
    .addOption(option("--embedding-type <type>", "type of token_embd.weight, often the output too"))
    .addOption(option("--force", "overwrite a file that exists"))
    .addOption(option("-t, --threads <n>", "threads (default: what affinity and quota allow)", positive))
    .addOption(option("--offline", "never touch the network"))
    .addHelpText("after", help);
  addJson(command).action((source: string, output: string, flags: QuantizeFlags) =>
    runCommand((signal) => quantize(source, output, flags, signal)),
  );
}

async function quantize(source: string, output: string, flags: QuantizeFlags, signal: AbortSignal): Promise<void> {
  const { quantizeModel } = await import("../quantization/index.js");
  const pulling = await pullReporter(source);
  const bar = await createBar("quantize", "million weights");
  let result: QuantizeResult;
  try {
    result = await quantizeModel(source, output, {
      // The names are the library's to check, so that both say the same.
      type: flags.type as TargetType,
      outputType: flags.outputType as TargetType | undefined,
      embeddingType: flags.embeddingType as TargetType | undefined,
      overwrite: flags.force,
      threads: flags.threads,
      offline: flags.offline,
      signal,
      onPullProgress: pulling.onPullProgress,
      onProgress: ({ doneWeights, totalWeights }) => {
        pulling.stop();
        bar.update(doneWeights, totalWeights);
      },
    });
  } finally {
    pulling.stop();
    bar.stop();
  }
  for (const warning of result.warnings) note(`lutra: ${warning}`);
  if (flags.json) return printJson(toDocument(result));
  await print(toText(result));
}

function toDocument({ file, type, sourceBytes, sizeBytes, tensors, warnings, ms }: QuantizeResult) {
  return {
    file,
    type,
    source_bytes: sourceBytes,
    size_bytes: sizeBytes,
    tensors: tensors.map(({ name, shape, from, to, sourceBytes: before, bytes, error }) => ({
      name,
      shape,
      from,
      to,
      source_bytes: before,
      size_bytes: bytes,
      error,
    })),
    warnings,
    ms,
  };
}

interface Group {
  count: number;
  first: QuantizedTensor;
  sourceBytes: number;
  bytes: number;
  errorSquares: number;
}

/** Layers that were treated alike stand in one line. */
function toText({ file, sourceBytes, sizeBytes, tensors, ms }: QuantizeResult): string {
  const groups = new Map<string, Group>();
  for (const tensor of tensors) {
    const kind = `${withoutLayer(tensor.name)} ${tensor.from} ${tensor.to} ${tensor.shape}`;
    const group = groups.get(kind) ?? { count: 0, first: tensor, sourceBytes: 0, bytes: 0, errorSquares: 0 };
    group.count++;
    group.sourceBytes += tensor.sourceBytes;
    group.bytes += tensor.bytes;
    group.errorSquares += tensor.error ** 2;
    groups.set(kind, group);
  }
  const header = ["tensor", "count", "shape", "from", "to", "MB before", "MB after", "error"];
  const rows = [header, ...[...groups.values()].map(toRow)];
  const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const isText = (column: number): boolean => column !== 1 && column < 5;
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell[isText(column) ? "padEnd" : "padStart"](widths[column] as number))
      .join("  ")
      .trimEnd(),
  );
  const bits =
    (8 * sizeBytes) / tensors.reduce((sum, { shape }) => sum + shape.reduce((all, size) => all * size, 1), 0);
  const summary = `${megabytes(sourceBytes)} MB → ${megabytes(sizeBytes)} MB, ${bits.toFixed(2)} bits a weight, in ${(ms / 1000).toFixed(1)} s`;
  return `${lines.join("\n")}\n${file}: ${summary}\n`;
}

function toRow({ count, first, sourceBytes, bytes, errorSquares }: Group): string[] {
  const { name, shape, from, to } = first;
  return [
    JSON.stringify(count === 1 ? name : withoutLayer(name)).slice(1, -1),
    `${count}`,
    shape.join(" × "),
    from,
    from === to ? "kept" : to,
    megabytes(sourceBytes),
    megabytes(bytes),
    from === to ? "" : `${(100 * Math.sqrt(errorSquares / count)).toPrecision(3)} %`,
  ];
}

/** The name that a tensor has in every layer. */
function withoutLayer(name: string): string {
  return name.replace(/^blk\.\d+\./, "blk.*.");
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}
