/**
 * Who waits for which message to become visible. It knows only messages that are durable and not yet
 * published, so that it stays as small as the backlog.
 */

export class Unpublished {
  readonly #waiters = new Map<string, PromiseWithResolvers<void> | undefined>();

  get count(): number {
    return this.#waiters.size;
  }

  /** Notes what a commit left to be published; to be called before anything is told of it. */
  committed(ids: readonly string[]): void {
    for (const id of ids) this.#waiters.set(id, undefined);
  }

  /** Resolves when the message is in its mailbox; at once for any other id. */
  wait(id: string): Promise<void> {
    if (!this.#waiters.has(id)) return Promise.resolve();
    const waiter = this.#waiters.get(id) ?? Promise.withResolvers<void>();
    this.#waiters.set(id, waiter);
    return waiter.promise;
  }

  published(ids: readonly string[]): void {
    for (const id of ids) {
      this.#waiters.get(id)?.resolve();
      this.#waiters.delete(id);
    }
  }

  /** Tells who waits that these, or all, will not become visible here. */
  failed(reason: Error, ids: Iterable<string> = [...this.#waiters.keys()]): void {
    for (const id of ids) {
      this.#waiters.get(id)?.reject(reason);
      this.#waiters.delete(id);
    }
  }
}
