/**
 * Who gets a slot, and when: the queues of all keys, the fair ring of those that are runnable, and the
 * one hop in which batches start.
 *
 * Invariants: a key is in the ring if and only if `decide` names a trigger for it; whenever the ring
 * is not empty and a slot is free, a hop is pending; `update` runs after every change to a key, so
 * no wake-up can be lost. A key with nothing queued and no slot is forgotten at once.
 *
 * Starting only in a `setImmediate` hop is what makes batches large: callers that are woken by one
 * batch and hand in their next item at once all land in the next one. A microtask would be too early
 * for those that do so from an I/O callback.
 */
import type { BatcherClock } from "./clock.ts";
import { decide, type StartLimits } from "./decide.ts";
import type { Guests } from "./hooks.ts";
import { type Entry, KeyQueue, Slot } from "./key-queue.ts";
import { List } from "./list.ts";

export interface DispatcherSettings extends StartLimits {
  readonly concurrency: number;
  readonly acquire: unknown;
  /** Whether anyone asks how long things take. */
  readonly timed: boolean;
  readonly clock: BatcherClock;
}

export class Dispatcher<Key, Item, Output> {
  readonly keys = new Map<Key, KeyQueue<Key, Item, Output>>();
  readonly slots = new List<Slot<Key, Item, Output>>();
  queuedItems = 0;
  acquiring = 0;
  /** Batches sealed so far. */
  batches = 0;
  /** Set by `close`: nothing is held back any more. */
  closing = false;
  /** Adds are waiting for room. */
  crowded = false;

  readonly #settings: DispatcherSettings;
  readonly #run: (slot: Slot<Key, Item, Output>) => void;
  readonly #onHop: () => void;
  readonly #askForHop: () => void;
  readonly #ring = new List<KeyQueue<Key, Item, Output>>();
  /** Keys that could start a batch but wait for company or time. */
  readonly #held = new Set<KeyQueue<Key, Item, Output>>();
  #hopPending = false;

  /** @param run - starts the work of a slot; called in a hop, when all state is in order. */
  constructor(
    settings: DispatcherSettings,
    guests: Guests,
    run: (slot: Slot<Key, Item, Output>) => void,
  ) {
    this.#settings = settings;
    this.#run = run;
    this.#askForHop = () => settings.clock.setImmediate(this.#onHop);
    this.#onHop = () => guests.inOwnContext(() => this.#dispatch());
  }

  /** Queues an item. */
  accept(entry: Entry<Key, Item, Output>): void {
    let queue = this.keys.get(entry.key);
    if (!queue) {
      queue = new KeyQueue(entry.key);
      this.keys.set(entry.key, queue);
    }
    queue.accept(entry, this.#settings.maxBatchBytes);
    this.queuedItems += 1;
    this.#update(queue);
    this.#hop();
  }

  /** Takes a queued item out again. */
  remove(entry: Entry<Key, Item, Output>, queue: KeyQueue<Key, Item, Output>): void {
    queue.withdraw(entry, this.#settings.maxBatchBytes);
    this.queuedItems -= 1;
    this.#update(queue);
    this.#hop();
  }

  /** Fixes the items of a slot: the longest prefix of its queue within the limits, maybe none. */
  seal(slot: Slot<Key, Item, Output>): void {
    const { queue } = slot;
    slot.entries = queue.takeBatch(this.#settings.maxBatchItems, this.#settings.maxBatchBytes);
    this.queuedItems -= slot.entries.length;
    if (slot.entries.length > 0) this.batches += 1;
    slot.batchId = this.batches;
    for (const entry of slot.entries) entry.slot = slot;
    this.#stopLinger(queue);
  }

  /** Notes the end of `acquire`, however it ended, and seals. */
  acquired(slot: Slot<Key, Item, Output>): void {
    slot.queue.acquiring -= 1;
    this.acquiring -= 1;
    this.seal(slot);
    // A byte limit may have left more behind than this slot was thought to cover.
    this.#update(slot.queue);
    this.#hop();
  }

  /** Gives a slot back, when its batch is settled and its resource released. */
  free(slot: Slot<Key, Item, Output>): void {
    const { queue } = slot;
    this.slots.remove(slot);
    queue.slots -= 1;
    queue.gathered = queue.size > 0;
    this.#update(queue);
    this.#hopBehindReactions();
  }

  /** Stops holding back what a key has queued, and calls `done` when that is settled. */
  flush(queue: KeyQueue<Key, Item, Output>, done: () => void): void {
    queue.flush(done);
    this.#update(queue);
    this.#hop();
  }

  /** Stops holding anything back, because what is held keeps others out. */
  press(): void {
    for (const queue of [...this.#held]) {
      queue.pressed = true;
      this.#update(queue);
    }
    this.#hop();
  }

  close(): void {
    this.closing = true;
    this.press();
  }

  /** Acts on what has become of a key. */
  #update(queue: KeyQueue<Key, Item, Output>): void {
    if (queue.size === 0) {
      this.#rest(queue);
      return;
    }
    if (this.crowded) queue.pressed = true;
    const decision = decide(queue, this.#settings, this.closing);
    switch (decision) {
      case "nothing":
        this.#unhold(queue);
        this.#ring.remove(queue);
        return;
      case "hold":
        this.#held.add(queue);
        this.#ring.remove(queue);
        return;
      case "linger-first":
        this.#held.add(queue);
        this.#ring.remove(queue);
        this.#linger(queue);
        return;
      default:
        queue.trigger = decision;
        this.#unhold(queue);
        if (!queue.list) this.#ring.push(queue);
    }
  }

  #unhold(queue: KeyQueue<Key, Item, Output>): void {
    if (this.#held.size > 0) this.#held.delete(queue);
  }

  /** Nothing is queued: no timer, no turn, and without a slot no key. */
  #rest(queue: KeyQueue<Key, Item, Output>): void {
    this.#stopLinger(queue);
    this.#unhold(queue);
    this.#ring.remove(queue);
    if (queue.slots === 0) this.keys.delete(queue.key);
  }

  /**
   * Waits until the first uncovered item has its age. While the timer is armed it alone decides: Node
   * fires timers up to a millisecond early, and whoever looks at the clock then waits for ever.
   */
  #linger(queue: KeyQueue<Key, Item, Output>): void {
    if (queue.lingerTimer !== undefined) return;
    const { clock, lingerMs, maxBatchItems } = this.#settings;
    const oldest = queue.firstUncovered(maxBatchItems);
    const remainingMs = (oldest?.addedAt ?? 0) + lingerMs - clock.now();
    const lingered = () => {
      queue.lingerTimer = undefined;
      queue.lingered = true;
      this.#update(queue);
    };
    if (remainingMs <= 0) {
      lingered();
      return;
    }
    queue.lingerTimer = clock.setTimeout(() => {
      lingered();
      this.#hop();
    }, remainingMs);
  }

  #stopLinger(queue: KeyQueue<Key, Item, Output>): void {
    queue.lingered = false;
    queue.pressed = false;
    if (queue.lingerTimer === undefined) return;
    this.#settings.clock.clearTimeout(queue.lingerTimer);
    queue.lingerTimer = undefined;
  }

  /** Asks for the hop, if there is a turn to give and none has been asked for. */
  #hop(): void {
    if (!this.#wantsHop()) return;
    this.#hopPending = true;
    this.#settings.clock.setImmediate(this.#onHop);
  }

  /**
   * The same after a batch, but behind the reactions of its callers, so that one of them who hands in
   * its next item by `setImmediate` comes before the hop too.
   */
  #hopBehindReactions(): void {
    if (!this.#wantsHop()) return;
    this.#hopPending = true;
    process.nextTick(this.#askForHop);
  }

  #wantsHop(): boolean {
    return !this.#hopPending && this.#ring.size > 0 && this.slots.size < this.#settings.concurrency;
  }

  /** Gives the free slots to the keys in ring order, and only then lets foreign code run. */
  #dispatch(): void {
    this.#hopPending = false;
    const opened: Slot<Key, Item, Output>[] = [];
    while (this.slots.size < this.#settings.concurrency) {
      const queue = this.#ring.shift();
      if (!queue) break;
      opened.push(this.#open(queue));
    }
    for (const slot of opened) this.#run(slot);
  }

  #open(queue: KeyQueue<Key, Item, Output>): Slot<Key, Item, Output> {
    const slot = new Slot(queue, this.#settings.timed ? this.#settings.clock.now() : 0);
    this.slots.push(slot);
    queue.slots += 1;
    queue.gathered = false;
    if (this.#settings.acquire) {
      queue.acquiring += 1;
      this.acquiring += 1;
      this.#stopLinger(queue);
    } else {
      this.seal(slot);
    }
    this.#update(queue);
    return slot;
  }
}
