/** Requests through generate(), and when their tokens came. */

/** Greedy, of a fixed length. */
export const greedy = { temperature: 0, ignoreEos: true };

/**
 * Reads a request's stream. `arrivals` grows with it: the time of each token; tokens of one part share the time since
 * the part before. `ended` settles with the stream.
 */
export function follow(stream) {
  const arrivals = [];
  const read = async () => {
    for await (const { tokens } of stream) {
      const now = performance.now();
      const before = arrivals.at(-1) ?? now;
      for (let i = 1; i <= tokens.length; i++) arrivals.push(before + ((now - before) * i) / tokens.length);
    }
  };
  return { arrivals, stream, ended: read() };
}

/** Milliseconds from now to the first token of a request that generates no more, and what it used. */
export async function timeToFirstToken(model, prompt) {
  const start = performance.now();
  const { usage } = await model.generate(prompt, { ...greedy, maxTokens: 1 });
  return { ms: performance.now() - start, usage };
}

/** Distances of the arrivals that ended in [from, to). */
export function gapsWithin(arrivals, from, to) {
  return arrivals.slice(1).flatMap((at, i) => (at >= from && at < to ? [at - arrivals[i]] : []));
}
