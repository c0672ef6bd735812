/**
 * Stop strings over streamed text: Aho–Corasick (Aho & Corasick 1975) on UTF-16 units, O(output) whatever the number of
 * stops. The match that ends first wins; of those ending together the longest, so no part of it was emitted.
 * Text that may still become a match is held back.
 */
export class StopMatcher {
  private readonly goto = new Map<number, number>();
  private readonly fail: number[] = [0];
  private readonly depth: number[] = [0];
  /** Index of the longest stop that ends at a node, or -1. */
  private readonly ends: number[] = [-1];
  private readonly stops: readonly string[];
  private node = 0;
  private held = "";
  private matchedStop: string | undefined;

  constructor(stops: readonly string[]) {
    this.stops = stops;
    for (const [i, stop] of stops.entries()) this.insert(stop, i);
    this.link();
  }

  /** The stop string that ended the text. */
  get matched(): string | undefined {
    return this.matchedStop;
  }

  private insert(stop: string, index: number): void {
    let node = 0;
    for (let i = 0; i < stop.length; i++) {
      const key = node * 0x10000 + stop.charCodeAt(i);
      let next = this.goto.get(key);
      if (next === undefined) {
        next = this.fail.length;
        this.goto.set(key, next);
        this.fail.push(0);
        this.depth.push(i + 1);
        this.ends.push(-1);
      }
      node = next;
    }
    if (node !== 0 && this.ends[node] === -1) this.ends[node] = index;
  }

  private link(): void {
    const edges = [...this.goto].sort((a, b) => (this.depth[a[1]] as number) - (this.depth[b[1]] as number));
    for (const [key, node] of edges) {
      const parent = Math.floor(key / 0x10000);
      if (parent !== 0) this.fail[node] = this.advance(this.fail[parent] as number, key % 0x10000);
      if (this.ends[node] === -1) this.ends[node] = this.ends[this.fail[node] as number] as number;
    }
  }

  private advance(from: number, unit: number): number {
    let node = from;
    for (;;) {
      const next = this.goto.get(node * 0x10000 + unit);
      if (next !== undefined) return next;
      if (node === 0) return 0;
      node = this.fail[node] as number;
    }
  }

  /** Takes more text; returns what is safe to emit. After `stopped`, nothing more is emitted. */
  push(text: string): { text: string; stopped: boolean } {
    if (this.matchedStop !== undefined) return { text: "", stopped: true };
    if (this.stops.length === 0) return { text, stopped: false };
    for (let i = 0; i < text.length; i++) {
      this.node = this.advance(this.node, text.charCodeAt(i));
      const index = this.ends[this.node] as number;
      if (index === -1) continue;
      this.matchedStop = this.stops[index] as string;
      const seen = this.held + text.slice(0, i + 1);
      this.held = "";
      return { text: seen.slice(0, seen.length - this.matchedStop.length), stopped: true };
    }
    const seen = this.held + text;
    const safe = seen.length - (this.depth[this.node] as number);
    this.held = seen.slice(safe);
    return { text: seen.slice(0, safe), stopped: false };
  }

  /** The text ended without a match: gives back what was held. */
  flush(): string {
    const rest = this.held;
    this.held = "";
    this.node = 0;
    return rest;
  }
}
