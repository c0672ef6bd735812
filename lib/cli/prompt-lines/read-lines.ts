/**
 * A byte stream cut into lines at LF. One line is in memory at a time, and of a line past the limit nothing is kept, so a
 * file may be of any size.
 */
export interface Line {
  /** From 1. */
  number: number;
  /** Without its LF; null: longer than the limit. */
  bytes: Buffer | null;
  /** Offset in the stream of the line's first byte, and of the byte behind its LF. */
  start: number;
  end: number;
  /** False for the last line when no LF closes it. */
  closed: boolean;
}

const lf = 10;

export async function* readLines(chunks: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let [number, size, start] = [0, 0, 0];
  const add = (part: Buffer) => {
    size += part.length;
    if (size > maxBytes) parts = [];
    else if (part.length > 0) parts.push(part);
  };
  const take = (closed: boolean): Line => {
    const end = start + size + (closed ? 1 : 0);
    const line = { number: ++number, bytes: size > maxBytes ? null : Buffer.concat(parts), start, end, closed };
    [parts, size, start] = [[], 0, end];
    return line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(lf); at >= 0; at = chunk.indexOf(lf, from)) {
      add(chunk.subarray(from, at));
      from = at + 1;
      yield take(true);
    }
    add(chunk.subarray(from));
  }
  if (size > 0) yield take(false);
}
