/** How results name lookup attention, and what it did. */
import type { AttentionInfo, AttentionStats } from "../../types.js";

/** `nomad refine d2`; undefined where attention is exact. */
export function nameAttention(info: AttentionInfo): string | undefined {
  return info.type === "exact" ? undefined : `${info.type} ${info.mode} d${info.dSub}`;
}

/** `approximations` of a result; `stats` of rows that attended by look-ups, if there were any. */
export function describeApproximations(info: AttentionInfo, stats: AttentionStats | undefined): string[] {
  return stats === undefined ? [] : [describe(info, stats)];
}

function describe(info: AttentionInfo, { kept, dropped }: AttentionStats): string {
  const name = nameAttention(info);
  if (info.type === "exact" || info.mode === "pure") return `${name}: keys read by their codes alone`;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return `${name}: ${percent(kept)} of keys read, ${percent(dropped)} of attention mass left out (estimated)`;
}
