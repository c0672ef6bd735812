/** The Markdown table of a comparison's results. */

const megabytes = (bytes) => (bytes === undefined ? "–" : `${(bytes / 1e6).toFixed(0)} MB`);
const speed = ({ median, spread }) => `${median.toFixed(1)} ± ${((spread / 2) * 100).toFixed(1)} %`;

export function toMarkdown({ machine, commit, dirty, node, versions, flags, models }) {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB; Node ${node}; ` +
      `${flags.threads} threads; medians of ${flags.rounds} interleaved rounds; ` +
      `lutra ${versions.lutra} at ${commit?.slice(0, 9) ?? "?"}${dirty ? " (modified)" : ""}, ` +
      `node-llama-cpp ${versions["node-llama-cpp"]}.`,
    "",
    "| model | engine | pp512 tokens/s | tg128 tokens/s | share of read ceiling | load | peak memory |",
    "|---|---|---:|---:|---:|---:|---:|",
  ];
  for (const model of models) {
    for (const row of model.results) {
      lines.push(
        `| ${model.model} | ${row.engine} | ${speed(row.pp512)} | ${speed(row.tg128)} | ` +
          `${(row.tg128ShareOfCeiling * 100).toFixed(0)} % | ${row.loadMs.median.toFixed(0)} ms | ` +
          `${megabytes(row.memory?.peakBytes)} |`,
      );
    }
    const { pp512, tg128, load } = model.ratio;
    lines.push(
      `| ${model.model} | lutra ÷ node-llama-cpp | ${pp512.toFixed(2)} | ${tg128.toFixed(2)} | ` +
        `(${model.readCeilingGbS.median.toFixed(1)} GB/s) | ${load.toFixed(2)} | |`,
    );
  }
  return lines.join("\n");
}

/** A table whose first column is text and the others numbers. */
export function markdownTable(columns, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const rule = columns.map((_, i) => (i === 0 ? "---" : "---:")).join("|");
  return [line(columns), `|${rule}|`, ...rows.map(line)].join("\n");
}
