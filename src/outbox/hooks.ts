/**
 * Durable events → hooks, each at least once: an event stays in the store until its hooks have
 * returned, so a process that is killed in between only makes a hook run twice. A hook that does not
 * return in time counts as one that failed, so that it holds up nobody for long.
 */
import { type Clock, systemClock, type TimerHandle } from "../system/index.ts";
import { wholeNumber } from "./model/checks.ts";
import type { Notify } from "./model/delivery-state.ts";
import type { EventRow } from "./model/rows.ts";
import type { OutboxStore } from "./model/store.ts";

/** Functions of the application. What throws, rejects or takes too long is called again later. */
export interface OutboxHooks {
  /** A delivery was given up. */
  readonly onDeadLetter?: (letter: DeadLetter, options: HookOptions) => unknown;
  /** Any event, dead letters among them. */
  readonly onEvent?: (event: EventRow, options: HookOptions) => unknown;
}

export interface HookOptions {
  /**
   * Aborts when the hook has taken too long, or the dispatcher stops: nobody waits for it any more. A
   * hook that goes on all the same may run beside its own repeat.
   */
  readonly signal: AbortSignal;
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
  readonly atMs: number;
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
  /**
   * Longest time for the hooks of one event, in milliseconds; at most half of `leaseMs`. @defaultValue 30000
   */
  readonly timeoutMs?: number;
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

/** What `stop` waits for the store to record, after the last hook, in milliseconds. */
const recordMs = 5_000;

export class EventDispatcher {
  readonly #options: Required<DispatcherOptions>;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #started = false;
  #isStopping = false;
  /** Ends the wait for the hook that runs. */
  #giveUp: ((reason: Error) => void) | undefined;

  /** @throws {OutboxError} ERR_OUTBOX_OPTION */
  constructor(options: DispatcherOptions) {
    this.#options = {
      pollMs: 1000,
      leaseMs: 60_000,
      timeoutMs: 30_000,
      batchSize: 100,
      onError: () => {},
      clock: systemClock,
      ...options,
    };
    const { pollMs, leaseMs, timeoutMs, batchSize } = this.#options;
    wholeNumber("pollMs", pollMs);
    wholeNumber("batchSize", batchSize);
    wholeNumber("leaseMs", leaseMs, 2);
    wholeNumber("timeoutMs", timeoutMs, 1, Math.floor(leaseMs / 2));
  }

  /** Starts looking for events, now and then every `pollMs`. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#isStopping = false;
    this.#look();
  }

  /**
   * Calls no further hook, and waits at most `drainMs` for the one that runs; if it has not returned by
   * then its signal aborts, and its event comes again. Resolves when all that is recorded, or 5 s later.
   * Idempotent.
   */
  async stop({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    const { clock } = this.#options;
    this.#started = false;
    this.#isStopping = true;
    clock.clearTimeout(this.#timer);
    const stopping = new Error("The dispatcher stops");
    const drained = clock.setTimeout(() => this.#giveUp?.(stopping), drainMs);
    const late = Promise.withResolvers<void>();
    const over = clock.setTimeout(late.resolve, drainMs + recordMs);
    await Promise.race([this.#running, late.promise]);
    clock.clearTimeout(drained);
    clock.clearTimeout(over);
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
      if (clock.now() >= until || this.#isStopping) {
        unheard.push(event.seq);
        continue;
      }
      try {
        await this.#inTime((options) => this.#tell(event, options));
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

  async #tell(event: EventRow, options: HookOptions): Promise<void> {
    const { onDeadLetter, onEvent } = this.#options.hooks;
    if (event.type === "delivery.dead") await onDeadLetter?.(deadLetterOf(event), options);
    options.signal.throwIfAborted();
    await onEvent?.(event, options);
  }

  /** Rejects when it takes too long, and does not wait for it any more. */
  async #inTime(hooks: (options: HookOptions) => Promise<void>): Promise<void> {
    const { clock, timeoutMs } = this.#options;
    const abort = new AbortController();
    const late = Promise.withResolvers<never>();
    const giveUp = (reason: Error) => {
      abort.abort(reason);
      late.reject(reason);
    };
    const tooLong = new Error(`The hook took longer than ${timeoutMs} ms`);
    const timer = clock.setTimeout(() => giveUp(tooLong), timeoutMs);
    this.#giveUp = giveUp;
    try {
      await Promise.race([hooks({ signal: abort.signal }), late.promise]);
    } finally {
      this.#giveUp = undefined;
      clock.clearTimeout(timer);
    }
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

function deadLetterOf({ deliveryId = "", messageId = "", data, atMs }: EventRow): DeadLetter {
  const { template } = data;
  const reason = String(data.reason ?? "");
  return {
    deliveryId,
    messageId,
    ...(typeof template === "string" ? { template } : {}),
    error: String(data.error ?? reason),
    reason,
    atMs,
  };
}
