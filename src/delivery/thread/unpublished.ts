/**
 * Which messages are durable and not yet visible, since when, and who waits for one of them. It knows
 * no others, so that it stays as small as the backlog.
 */

interface Waited extends PromiseWithResolvers<void> {
  readonly sinceMs: number;
}

export class Unpublished {
  /** In the order of their commits; the time of it until somebody waits. */
  readonly #since = new Map<string, number | Waited>();

  get count(): number {
    return this.#since.size;
  }

  /** When the first of them was committed; `undefined` when there is none. */
  get oldestSinceMs(): number | undefined {
    const oldest = this.#since.values().next().value;
    return typeof oldest === "object" ? oldest.sinceMs : oldest;
  }

  /** Notes what a commit left to be published; to be called before anything is told of it. */
  committed(ids: readonly string[], nowMs: number): void {
    for (const id of ids) this.#since.set(id, nowMs);
  }

  /** Resolves when the message is in its mailbox; at once for any other id. */
  wait(id: string): Promise<void> {
    const since = this.#since.get(id);
    if (since === undefined) return Promise.resolve();
    if (typeof since === "object") return since.promise;
    const waited: Waited = { ...Promise.withResolvers<void>(), sinceMs: since };
    this.#since.set(id, waited);
    return waited.promise;
  }

  published(ids: readonly string[]): void {
    for (const id of ids) this.#take(id)?.resolve();
  }

  /** Tells who waits that these, or all, will not become visible here. */
  failed(reason: Error, ids: Iterable<string> = [...this.#since.keys()]): void {
    for (const id of ids) this.#take(id)?.reject(reason);
  }

  #take(id: string): Waited | undefined {
    const since = this.#since.get(id);
    this.#since.delete(id);
    return typeof since === "object" ? since : undefined;
  }
}
