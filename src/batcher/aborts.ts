/**
 * Abort listeners, one per signal however many items share it.
 *
 * `addEventListener` walks the listeners a signal already has, so one listener per item would make
 * every add of a busy connection slower than the last. A signal that nobody waits for any more has no
 * listener: long-lived signals must not gather them.
 */

export class Aborts<Watcher> {
  readonly #onAbort: (watcher: Watcher) => void;
  readonly #watchers = new Map<AbortSignal, Set<Watcher>>();

  constructor(onAbort: (watcher: Watcher) => void) {
    this.#onAbort = onAbort;
  }

  /** Has `onAbort(watcher)` called when `signal` aborts. */
  watch(signal: AbortSignal, watcher: Watcher): void {
    const watchers = this.#watchers.get(signal);
    if (watchers) {
      watchers.add(watcher);
      return;
    }
    this.#watchers.set(signal, new Set([watcher]));
    signal.addEventListener("abort", this);
  }

  /** Forgets a watcher, and with the last one the listener. */
  unwatch(signal: AbortSignal, watcher: Watcher): void {
    const watchers = this.#watchers.get(signal);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    this.#watchers.delete(signal);
    signal.removeEventListener("abort", this);
  }

  /** The listener itself; the runtime calls it. */
  handleEvent(event: Event): void {
    const signal = event.target as AbortSignal;
    const watchers = this.#watchers.get(signal) ?? [];
    this.#watchers.delete(signal);
    signal.removeEventListener("abort", this);
    for (const watcher of watchers) this.#onAbort(watcher);
  }
}
