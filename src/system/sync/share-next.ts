/**
 * Lets callers who meet share one run of a flush: natural batching for work that has no arguments.
 *
 * A flush under way may have passed by what was written since it began, so whoever arrives
 * meanwhile waits for the next one, and all of them for the same.
 */
export interface SharedFlush {
  (): Promise<void>;
  /** Resolves when nothing is under way, whatever came of it. */
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
