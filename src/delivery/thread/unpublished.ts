/**
 * The messages that are durable and not yet visible, with the time of their commit and the promise
 * of their waiters. It holds no others, so that it stays as small as the backlog.
 */

/** A message that at least one caller waits for. */
interface AwaitedMessage extends PromiseWithResolvers<void> {
  readonly sinceMs: number;
}

export class Unpublished {
  /** In the order of their commits; a time alone as long as no caller waits. */
  readonly #since = new Map<string, number | AwaitedMessage>();

  get count(): number {
    return this.#since.size;
  }

  /** When the oldest of them was committed; `undefined` without one. */
  get oldestSinceMs(): number | undefined {
    const oldest = this.#since.values().next().value;
    return typeof oldest === "object" ? oldest.sinceMs : oldest;
  }

  /** Adds the messages of a commit; to be called before any event about them. */
  committed(ids: readonly string[], nowMs: number): void {
    for (const id of ids) this.#since.set(id, nowMs);
  }

  /** Resolves when the message is in its mailbox; at once for any other id. */
  wait(id: string): Promise<void> {
    const since = this.#since.get(id);
    if (since === undefined) return Promise.resolve();
    if (typeof since === "object") return since.promise;
    const awaited: AwaitedMessage = { ...Promise.withResolvers<void>(), sinceMs: since };
    this.#since.set(id, awaited);
    return awaited.promise;
  }

  published(ids: readonly string[]): void {
    for (const id of ids) this.#take(id)?.resolve();
  }

  /** Rejects the waiters of these ids (default: all). */
  failed(reason: Error, ids: Iterable<string> = [...this.#since.keys()]): void {
    for (const id of ids) this.#take(id)?.reject(reason);
  }

  #take(id: string): AwaitedMessage | undefined {
    const since = this.#since.get(id);
    this.#since.delete(id);
    return typeof since === "object" ? since : undefined;
  }
}
