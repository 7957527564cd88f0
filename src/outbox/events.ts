/**
 * Durable events → hooks, each at least once: an event stays in the store until its hooks have
 * returned, so a process that is killed in between only makes a hook run twice.
 */
import { type Clock, systemClock, type TimerHandle } from "../system/index.ts";
import type { Notify } from "./entry.ts";
import type { EventRow } from "./rows.ts";
import type { OutboxStore } from "./store.ts";

/** Functions of the application. What throws or rejects is called again later. */
export interface OutboxHooks {
  /** A delivery was given up. */
  readonly onDeadLetter?: (letter: DeadLetter) => unknown;
  /** Any event, dead letters among them. */
  readonly onEvent?: (event: EventRow) => unknown;
}

export interface DeadLetter {
  readonly deliveryId: string;
  readonly messageId: string;
  readonly template?: string;
  /** What was answered last. */
  readonly error: string;
  /** The same; with the prefix `permanent: ` when it was a refusal for good. */
  readonly reason: string;
  /** Milliseconds since 1970 UTC. */
  readonly at: number;
}

/** The events these hooks want to hear of, for the worker to mark. */
export function wantedBy(hooks: OutboxHooks): Notify {
  return (type) =>
    hooks.onEvent !== undefined || (hooks.onDeadLetter !== undefined && type === "delivery.dead");
}

export interface DispatcherOptions {
  readonly store: OutboxStore;
  readonly hooks: OutboxHooks;
  /** Longest time between two looks, in milliseconds. @defaultValue 1000 */
  readonly pollMs?: number;
  /** How long one process keeps events to itself, in milliseconds. @defaultValue 60000 */
  readonly leaseMs?: number;
  /** Events taken at a time. @defaultValue 100 */
  readonly batchSize?: number;
  /** Hears of hooks that failed, and of a store that did. */
  readonly onError?: (error: unknown, event?: EventRow) => void;
  /** @defaultValue the machine's */
  readonly clock?: Clock;
}

/** The delay after the n-th failure of a hook: 2 s, 4 s, and so on up to an hour. */
export function hookDelayMs(failures: number): number {
  return Math.min(1000 * 2 ** failures, 60 * 60 * 1000);
}

export class EventDispatcher {
  readonly #options: Required<DispatcherOptions>;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #started = false;

  constructor(options: DispatcherOptions) {
    this.#options = {
      pollMs: 1000,
      leaseMs: 60_000,
      batchSize: 100,
      onError: () => {},
      clock: systemClock,
      ...options,
    };
  }

  /** Starts looking for events, now and then every `pollMs`. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#look();
  }

  /** Stops; resolves when the hook that runs has returned and is recorded. */
  async stop(): Promise<void> {
    this.#started = false;
    this.#options.clock.clearTimeout(this.#timer);
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Hands out one batch, in order; returns how many events hooks have heard of. */
  async tick(): Promise<number> {
    const { store, batchSize, leaseMs, onError, clock } = this.#options;
    const until = clock.now() + leaseMs / 2;
    const events = await store.claimEvents({ limit: batchSize, leaseMs });
    const heard: number[] = [];
    const unheard: number[] = [];
    for (const event of events) {
      // What slow hooks leave no time for is given back, or another process hears of it as well.
      if (clock.now() >= until) {
        unheard.push(event.seq);
        continue;
      }
      try {
        await this.#tell(event);
        heard.push(event.seq);
      } catch (error) {
        onError(error, event);
        await store.deferEvents([event.seq], hookDelayMs(event.tries + 1));
      }
    }
    if (heard.length > 0) await store.acknowledgeEvents(heard);
    if (unheard.length > 0) await store.deferEvents(unheard, 0);
    return heard.length;
  }

  async #tell(event: EventRow): Promise<void> {
    const { onDeadLetter, onEvent } = this.#options.hooks;
    if (event.type === "delivery.dead") await onDeadLetter?.(deadLetterOf(event));
    await onEvent?.(event);
  }

  #look(): void {
    const { clock, pollMs, batchSize, onError } = this.#options;
    this.#running = this.tick()
      .then(
        (heard) => heard >= batchSize,
        (error: unknown) => {
          onError(error);
          return false;
        },
      )
      .then((more) => {
        if (!this.#started) return;
        this.#timer = clock.setTimeout(() => this.#look(), more ? 0 : pollMs);
      });
  }
}

function deadLetterOf({ deliveryId = "", messageId = "", data, at }: EventRow): DeadLetter {
  const { template } = data;
  const reason = String(data.reason ?? "");
  return {
    deliveryId,
    messageId,
    ...(typeof template === "string" ? { template } : {}),
    error: String(data.error ?? reason),
    reason,
    at,
  };
}
