/** A request that the engine cannot have yet: its prompt is being encoded, or its engine is starting again. */
import { createError, type LutraError, toLutraError } from "../errors.js";
import type { RequestHandle, RequestSink } from "./client.js";

/**
 * Submits when `ready` resolves, and fails the sink with what it rejects with. An abort before that calls `cancel`; the sink
 * is told when `ready` has settled, so that nothing of the request is in flight then.
 */
export function submitLater<T>(
  ready: Promise<T>,
  submit: (value: T) => RequestHandle,
  sink: RequestSink,
  cancel: (reason: LutraError) => void,
): RequestHandle {
  let handle: RequestHandle | undefined;
  let aborted: LutraError | undefined;
  let unbound = false;
  const start = (value: T): void => {
    if (aborted !== undefined) throw aborted;
    handle = submit(value);
    if (unbound) handle.unbound();
  };
  ready.then(start).catch((thrown: unknown) => sink.onFailure(aborted ?? toLutraError(thrown)));
  return {
    abort: () => {
      if (handle !== undefined) return handle.abort();
      aborted ??= createError("ABORTED", "the request was aborted before it started");
      cancel(aborted);
    },
    consumed: (tokens, unread) => handle?.consumed(tokens, unread),
    unbound: () => {
      unbound = true;
      handle?.unbound();
    },
  };
}
