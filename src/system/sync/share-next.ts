/**
 * Lets concurrent callers share one run of a flush: natural batching for work without arguments.
 *
 * A flush in progress does not cover changes made since it began. So a caller that arrives
 * meanwhile waits for the next flush, and all such callers for the same one.
 */
interface SharedFlush {
  (): Promise<void>;
  /** Resolves when no flush is in progress, also after a failed one. */
  idle(): Promise<void>;
}

export function shareNext(run: () => Promise<void>): SharedFlush {
  let current: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  function start(): Promise<void> {
    next = undefined;
    current = run().finally(() => {
      current = undefined;
    });
    return current;
  }
  function flush(): Promise<void> {
    if (current === undefined) return start();
    next ??= current.then(start, start);
    return next;
  }
  flush.idle = async () => {
    while (current !== undefined) await (next ?? current).catch(() => undefined);
  };
  return flush;
}
