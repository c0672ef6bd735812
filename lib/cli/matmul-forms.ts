/** How a model multiplies and, where that was measured, why: for `inspect` and `bench`. */
import type { MatmulForm, MatmulInfo } from "../types.js";

export function describeForms(matmul: MatmulInfo): string[] {
  if (matmul.type === "dot") return ["matmul    dot"];
  if (matmul.type === "lut") return [`matmul    lut, ${matmul.tables} tables`];
  return [
    "matmul    auto: the time of a look-up against that of multiply-adds, measured here",
    ...matmul.forms.map(line),
  ];
}

function line({ type, rows, cols, kernel, times }: MatmulForm): string {
  const shares = times.map(({ columns, dotUs, lutUs }) => {
    const step = columns === 1 ? "a row" : `${columns} rows`;
    return `${step} ${(lutUs / dotUs).toFixed(2)}`;
  });
  return `          ${`${type} ${rows} × ${cols}`.padEnd(22)} ${kernel}   ${shares.join(", ")}`;
}
