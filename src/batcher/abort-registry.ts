/**
 * Abort listeners: one per signal, however many items share it.
 *
 * `addEventListener` walks the listeners a signal already has, so with one listener per item every
 * add of a busy connection would be slower than the one before. A signal without watchers has no
 * listener: long-lived signals must not accumulate them.
 */

export class AbortRegistry<Watcher> {
  readonly #onAbort: (watcher: Watcher) => void;
  readonly #watchers = new Map<EventTarget, Set<Watcher>>();

  constructor(onAbort: (watcher: Watcher) => void) {
    this.#onAbort = onAbort;
  }

  /** Calls `onAbort(watcher)` when `signal` aborts. */
  watch(signal: AbortSignal, watcher: Watcher): void {
    const watchers = this.#watchers.get(signal);
    if (watchers) {
      watchers.add(watcher);
      return;
    }
    this.#watchers.set(signal, new Set([watcher]));
    signal.addEventListener("abort", this);
  }

  /** Removes a watcher, and with the last one the listener. */
  unwatch(signal: AbortSignal, watcher: Watcher): void {
    const watchers = this.#watchers.get(signal);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    this.#watchers.delete(signal);
    signal.removeEventListener("abort", this);
  }

  /** The listener itself; the platform calls it. */
  handleEvent({ target: signal }: Event): void {
    if (!signal) return;
    const watchers = this.#watchers.get(signal) ?? [];
    this.#watchers.delete(signal);
    signal.removeEventListener("abort", this);
    for (const watcher of watchers) this.#onAbort(watcher);
  }
}
