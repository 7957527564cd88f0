/**
 * The messages of the journal that are durable and not yet visible, with the time of their commit
 * and the promise of their waiters. start-disk-thread.ts fills this list in the event loop's
 * thread, from the disk thread's answers and events. A message leaves it once visible or orphaned,
 * so that the list stays as small as the backlog.
 */

/** A message that at least one caller waits for. */
interface AwaitedMessage extends PromiseWithResolvers<void> {
  readonly sinceMs: number;
}

export class Unpublished {
  /** By id, in the order of commits: the commit's time (monotonic); with waiters, their promise. */
  readonly #since = new Map<string, number | AwaitedMessage>();

  get count(): number {
    return this.#since.size;
  }

  /** When the oldest unpublished message was committed (monotonic); `undefined` without one. */
  get oldestSinceMs(): number | undefined {
    const oldest = this.#since.values().next().value;
    return typeof oldest === "object" ? oldest.sinceMs : oldest;
  }

  /** Adds the messages of a commit; to be called before any event about these messages. */
  committed(ids: readonly string[], nowMs: number): void {
    for (const id of ids) this.#since.set(id, nowMs);
  }

  /** Resolves when the message is visible; at once for an id that is not in the list. */
  wait(id: string): Promise<void> {
    const since = this.#since.get(id);
    if (since === undefined) return Promise.resolve();
    if (typeof since === "object") return since.promise;
    const awaited: AwaitedMessage = { ...Promise.withResolvers<void>(), sinceMs: since };
    this.#since.set(id, awaited);
    return awaited.promise;
  }

  /** Removes messages that are visible now, and resolves their waiters. */
  published(ids: readonly string[]): void {
    for (const id of ids) this.#take(id)?.resolve();
  }

  /** Removes the messages of `ids` (default: all), and rejects their waiters with `reason`. */
  failed(reason: Error, ids: Iterable<string> = [...this.#since.keys()]): void {
    for (const id of ids) this.#take(id)?.reject(reason);
  }

  #take(id: string): AwaitedMessage | undefined {
    const since = this.#since.get(id);
    this.#since.delete(id);
    return typeof since === "object" ? since : undefined;
  }
}
