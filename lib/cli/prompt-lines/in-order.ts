/**
 * Work on a stream of items, some at once, whose results are written in the order of the items. What finished early
 * waits for its turn, within a limit: past it no other item is started, so memory does not grow with the input.
 */
export interface InOrderOptions<T, R extends { text: string }> {
  /** Items in work at once. */
  parallel: number;
  /** Results that wait for an earlier one, and the characters of their texts. */
  maxWaiting: number;
  maxWaitingLength: number;
  /** What it throws ends the whole. */
  work: (item: T) => Promise<R>;
  write: (result: R) => Promise<void>;
}

/**
 * Ends when everything is written, or, with what `items`, `work` or `write` threw first, when nothing is being written any
 * more; results in front of the failed one that were finished by then are written. Work that is still running then is
 * the caller's to stop; its results go nowhere.
 */
export async function runInOrder<T, R extends { text: string }>(
  items: AsyncIterable<T>,
  options: InOrderOptions<T, R>,
): Promise<void> {
  const { parallel, maxWaiting, maxWaitingLength, work, write } = options;
  const finished = new Map<number, R>();
  let [started, running, written, waitingLength] = [0, 0, 0, 0];
  let writing = false;
  let failure: { thrown: unknown } | undefined;
  let wake = () => {};
  const until = async (reached: () => boolean) => {
    while (!reached()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };

  const writeFinished = async () => {
    if (writing) return;
    writing = true;
    try {
      for (let next = finished.get(written); next !== undefined; next = finished.get(written)) {
        await write(next);
        finished.delete(written++);
        waitingLength -= next.text.length;
        wake();
      }
    } finally {
      writing = false;
    }
  };
  const workOn = async (item: T, turn: number) => {
    try {
      const result = await work(item);
      running--;
      if (failure !== undefined) return;
      finished.set(turn, result);
      waitingLength += result.text.length;
      await writeFinished();
    } catch (thrown) {
      failure ??= { thrown };
    } finally {
      wake();
    }
  };
  const mayStart = () =>
    running < parallel && started - written - running < maxWaiting && waitingLength < maxWaitingLength;

  try {
    for await (const item of items) {
      if (failure !== undefined) break;
      running++;
      void workOn(item, started++);
      await until(() => failure !== undefined || mayStart());
    }
  } catch (thrown) {
    failure ??= { thrown };
  }
  await until(() => !writing && (failure !== undefined || written === started));
  if (failure !== undefined) throw failure.thrown;
}
