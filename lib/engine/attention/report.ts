/** How a result names what lookup attention did. */
import type { AttentionInfo, AttentionStats } from "../../types.js";

/** One entry of `timings.approximations`; `stats` of rows that attended by look-ups. */
export function describeApproximation(info: AttentionInfo, { kept, dropped }: AttentionStats): string {
  if (info.type === "exact") return "";
  const name = `nomad ${info.mode} d${info.dSub}`;
  if (info.mode === "pure") return `${name}: keys read by their codes alone`;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return `${name}: ${percent(kept)} of keys read, ${percent(dropped)} of attention mass left out (estimated)`;
}
