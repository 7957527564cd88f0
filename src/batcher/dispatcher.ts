/**
 * Which key gets a slot, and when: the queues of all keys and the fair ring of the runnable ones.
 *
 * Invariants: a key is in the ring if and only if `decide` names a trigger for it; whenever the
 * ring is not empty and a slot is free, a hop is pending; `#update` runs after every change to a
 * key, so no wake-up is lost. A key with nothing queued and no slot is forgotten at once.
 */
import type { BatcherClock } from "./clock.ts";
import { decide, type StartLimits } from "./decide.ts";
import type { UserCallbacks } from "./hooks.ts";
import { Hop } from "./hop.ts";
import { KeyQueue, type PendingItem, Slot } from "./key-queue.ts";
import { List } from "./list.ts";

export interface DispatcherSettings extends StartLimits {
  readonly concurrency: number;
  readonly acquire: unknown;
  /** Whether durations are needed; if not, the clock is not read. */
  readonly isTimed: boolean;
  readonly clock: BatcherClock;
}

export class Dispatcher<Key, Item, Output> {
  readonly keys = new Map<Key, KeyQueue<Key, Item, Output>>();
  readonly slots = new List<Slot<Key, Item, Output>>();
  queuedItems = 0;
  acquiring = 0;
  /** Batches sealed so far. */
  batches = 0;
  /** Set by `close`: no item is held back any more. */
  isClosing = false;
  /** Adds are waiting for room. */
  isCrowded = false;

  readonly #settings: DispatcherSettings;
  readonly #run: (slot: Slot<Key, Item, Output>) => void;
  readonly #hop: Hop;
  readonly #ring = new List<KeyQueue<Key, Item, Output>>();
  /** Keys that could start a batch but wait for more items or for their linger. */
  readonly #held = new Set<KeyQueue<Key, Item, Output>>();

  /** @param run - starts the work of a slot; called in a hop, when all state is consistent. */
  constructor(
    settings: DispatcherSettings,
    callbacks: UserCallbacks,
    run: (slot: Slot<Key, Item, Output>) => void,
  ) {
    this.#settings = settings;
    this.#run = run;
    this.#hop = new Hop(
      settings.clock,
      () => this.#ring.size > 0 && this.slots.size < settings.concurrency,
      () => callbacks.inOwnContext(() => this.#dispatch()),
    );
  }

  /** Queues an item. */
  accept(item: PendingItem<Key, Item, Output>): void {
    let queue = this.keys.get(item.key);
    if (!queue) {
      queue = new KeyQueue(item.key);
      this.keys.set(item.key, queue);
    }
    queue.accept(item, this.#settings.maxBatchBytes);
    this.queuedItems += 1;
    this.#update(queue);
    this.#hop.request();
  }

  /** Takes a queued item out again. */
  remove(item: PendingItem<Key, Item, Output>, queue: KeyQueue<Key, Item, Output>): void {
    queue.withdraw(item, this.#settings.maxBatchBytes);
    this.queuedItems -= 1;
    this.#update(queue);
    this.#hop.request();
  }

  /** Takes the items of a slot: the longest prefix of its queue within the limits, maybe none. */
  seal(slot: Slot<Key, Item, Output>): void {
    const { queue } = slot;
    slot.items = queue.takeBatch(this.#settings.maxBatchItems, this.#settings.maxBatchBytes);
    this.queuedItems -= slot.items.length;
    if (slot.items.length > 0) this.batches += 1;
    slot.batchId = this.batches;
    for (const item of slot.items) item.slot = slot;
    this.#stopLinger(queue);
  }

  /** Notes the end of `acquire`, however it ended, and seals. */
  acquired(slot: Slot<Key, Item, Output>): void {
    slot.queue.acquiring -= 1;
    this.acquiring -= 1;
    this.seal(slot);
    // A byte limit may have left more items behind than this slot was expected to take.
    this.#update(slot.queue);
    this.#hop.request();
  }

  /** Frees a slot whose batch is settled and whose resource is released. */
  free(slot: Slot<Key, Item, Output>): void {
    const { queue } = slot;
    this.slots.remove(slot);
    queue.slots -= 1;
    queue.hasGathered = queue.size > 0;
    this.#update(queue);
    this.#hop.requestBehindReactions();
  }

  /** Starts the queued items of a key without holding; calls `done` when they are settled. */
  flush(queue: KeyQueue<Key, Item, Output>, done: () => void): void {
    queue.flush(done);
    this.#update(queue);
    this.#hop.request();
  }

  /** Starts the held items of every key, because other items need their room. */
  startHeld(): void {
    for (const queue of [...this.#held]) {
      queue.isRoomNeeded = true;
      this.#update(queue);
    }
    this.#hop.request();
  }

  close(): void {
    this.isClosing = true;
    this.startHeld();
  }

  /** Decides anew about a key after a change, and carries the decision out. */
  #update(queue: KeyQueue<Key, Item, Output>): void {
    if (queue.size === 0) {
      this.#onEmpty(queue);
      return;
    }
    if (this.isCrowded) queue.isRoomNeeded = true;
    const decision = decide(queue, this.#settings, this.isClosing);
    switch (decision) {
      case "nothing":
        this.#stopHolding(queue);
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
        this.#stopHolding(queue);
        if (!queue.list) this.#ring.push(queue);
    }
  }

  #stopHolding(queue: KeyQueue<Key, Item, Output>): void {
    if (this.#held.size > 0) this.#held.delete(queue);
  }

  /**
   * Nothing is queued: stops the timer and leaves the ring; without a slot the key is forgotten.
   */
  #onEmpty(queue: KeyQueue<Key, Item, Output>): void {
    this.#stopLinger(queue);
    this.#stopHolding(queue);
    this.#ring.remove(queue);
    if (queue.slots === 0) this.keys.delete(queue.key);
  }

  /**
   * Waits until the first uncovered item is `lingerMs` old. The armed timer alone decides: Node
   * fires timers up to a millisecond early, so comparing with the clock again would wait for ever.
   */
  #linger(queue: KeyQueue<Key, Item, Output>): void {
    if (queue.lingerTimer !== undefined) return;
    const { clock, lingerMs, maxBatchItems } = this.#settings;
    const oldest = queue.firstUncovered(maxBatchItems);
    const remainingMs = (oldest?.addedAtMs ?? 0) + lingerMs - clock.now();
    const end = () => {
      queue.lingerTimer = undefined;
      queue.hasLingered = true;
      this.#update(queue);
    };
    if (remainingMs <= 0) {
      end();
      return;
    }
    queue.lingerTimer = clock.setTimeout(() => {
      end();
      this.#hop.request();
    }, remainingMs);
  }

  #stopLinger(queue: KeyQueue<Key, Item, Output>): void {
    queue.hasLingered = false;
    queue.isRoomNeeded = false;
    if (queue.lingerTimer === undefined) return;
    this.#settings.clock.clearTimeout(queue.lingerTimer);
    queue.lingerTimer = undefined;
  }

  /** Gives the free slots to the keys in ring order, and calls user code only after that. */
  #dispatch(): void {
    const opened: Slot<Key, Item, Output>[] = [];
    while (this.slots.size < this.#settings.concurrency) {
      const queue = this.#ring.shift();
      if (!queue) break;
      opened.push(this.#open(queue));
    }
    for (const slot of opened) this.#run(slot);
  }

  #open(queue: KeyQueue<Key, Item, Output>): Slot<Key, Item, Output> {
    const slot = new Slot(queue, this.#settings.isTimed ? this.#settings.clock.now() : 0);
    this.slots.push(slot);
    queue.slots += 1;
    queue.hasGathered = false;
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
