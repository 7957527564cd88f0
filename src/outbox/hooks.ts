/**
 * Calls the application's hooks for durable events, at least once for each event: `onDeadLetter`
 * tells the application of each dead letter (a delivery that ended without success), `onEvent` of
 * every event. The server, or a program that embeds the outbox, starts the dispatcher.
 *
 * An event waits in the store until its hooks have returned, so after a kill of the process a hook
 * may run a second time, but runs at least once. A hook that exceeds its time limit counts as
 * failed, so it delays the events behind it no longer than that limit.
 */
import { type Clock, systemClock, type TimerHandle, within } from "../system/index.ts";
import { wholeNumber } from "./model/checks.ts";
import type { Notify } from "./model/delivery-state.ts";
import type { EventRow } from "./model/rows.ts";
import type { OutboxStore } from "./model/store.ts";

/**
 * Functions of the application; the dispatcher awaits their results. The event of a hook that
 * throws, rejects or takes too long is dispatched again later, to both hooks.
 */
export interface OutboxHooks {
  /** Called when a delivery has ended without success: refused for good, or given up. */
  readonly onDeadLetter?: ((deadLetter: DeadLetter, options: HookOptions) => unknown) | undefined;
  /** Called for every event; for that of a dead letter after `onDeadLetter`. */
  readonly onEvent?: ((event: EventRow, options: HookOptions) => unknown) | undefined;
}

export interface HookOptions {
  /**
   * Aborts when the hook has taken too long or the dispatcher stops; the dispatcher then no longer
   * waits for the hook. A hook that goes on all the same may run beside its own repetition.
   */
  readonly signal: AbortSignal;
}

export interface DeadLetter {
  readonly deliveryId: string;
  readonly messageId: string;
  readonly template?: string | undefined;
  /** The last reply as text, or why the delivery ended without one. */
  readonly error: string;
  /** `error`, with the prefix `permanent: ` or `expired: ` if that is why the delivery ended. */
  readonly reason: string;
  /** The end of the delivery, in milliseconds since 1970 UTC on the clock of the store. */
  readonly atMs: number;
}

/** Which events these hooks handle, for the option `notify` of the worker. */
export function wantedBy(hooks: OutboxHooks): Notify {
  return (type) =>
    hooks.onEvent !== undefined || (hooks.onDeadLetter !== undefined && type === "delivery.dead");
}

export interface DispatcherOptions {
  readonly store: OutboxStore;
  readonly hooks: OutboxHooks;
  /** Pause between two polls while no full batch waits, in milliseconds. @defaultValue 1000 */
  readonly pollMs?: number | undefined;
  /** How long no other dispatcher gets a claimed event, in milliseconds. @defaultValue 60000 */
  readonly leaseMs?: number | undefined;
  /**
   * Time limit for the hooks of one event, in milliseconds; at most half of `leaseMs`.
   * @defaultValue 30000
   */
  readonly timeoutMs?: number | undefined;
  /** Maximum events of one claim. @defaultValue 100 */
  readonly batchSize?: number | undefined;
  /**
   * Receives the error of a hook, with its event, and the error of the store, without one.
   * @defaultValue none: errors are dropped, and their calls repeated all the same
   */
  readonly onError?: ((error: unknown, event?: EventRow) => void) | undefined;
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock | undefined;
}

type DispatcherSettings = {
  readonly [Name in keyof DispatcherOptions]-?: Exclude<DispatcherOptions[Name], undefined>;
};

/** The delay after the n-th failure of a hook: 2 s, 4 s, and so on up to an hour. */
function hookDelayMs(failures: number): number {
  return Math.min(1000 * 2 ** failures, 60 * 60 * 1000);
}

/** How long `stop` waits for the store's writes after the last hook, in milliseconds. */
const recordMs = 5_000;

export class EventDispatcher {
  readonly #settings: DispatcherSettings;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #isStarted = false;
  #isStopping = false;
  /** Ends the wait for the hook that runs. */
  #giveUp: ((reason: Error) => void) | undefined;

  /** @throws {OutboxError} ERR_OUTBOX_OPTION */
  constructor(options: DispatcherOptions) {
    const settings: DispatcherSettings = {
      store: options.store,
      hooks: options.hooks,
      pollMs: options.pollMs ?? 1000,
      leaseMs: options.leaseMs ?? 60_000,
      timeoutMs: options.timeoutMs ?? 30_000,
      batchSize: options.batchSize ?? 100,
      onError: options.onError ?? (() => {}),
      clock: options.clock ?? systemClock,
    };
    const { pollMs, leaseMs, timeoutMs, batchSize } = settings;
    wholeNumber("pollMs", pollMs);
    wholeNumber("batchSize", batchSize);
    wholeNumber("leaseMs", leaseMs, 2);
    wholeNumber("timeoutMs", timeoutMs, 1, Math.floor(leaseMs / 2));
    this.#settings = settings;
  }

  /** Starts to poll for events: now, and then every `pollMs`. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#isStopping = false;
    this.#poll();
  }

  /**
   * Calls no further hook, and waits at most `drainMs` for the hook that runs. After that its
   * signal aborts, and its event is dispatched again later. Resolves when the results of the hooks
   * are durable, or 5 s after `drainMs`. Idempotent.
   */
  async stop({ drainMs = 10_000 }: { readonly drainMs?: number | undefined } = {}): Promise<void> {
    const { clock } = this.#settings;
    this.#isStarted = false;
    this.#isStopping = true;
    clock.clearTimeout(this.#timer);
    const stopping = new Error("The dispatcher stops");
    const drained = clock.setTimeout(() => this.#giveUp?.(stopping), drainMs);
    await within(this.#running, drainMs + recordMs, undefined, clock);
    clock.clearTimeout(drained);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Claims and dispatches one batch of events, in order. Resolves with the number of events whose
   * hooks have returned; rejects with an error of the store.
   */
  async tick(): Promise<number> {
    const { store, batchSize, leaseMs, onError, clock } = this.#settings;
    const untilMs = clock.now() + leaseMs / 2;
    const events = await store.claimEvents({ limit: batchSize, leaseMs });
    const done: number[] = [];
    const left: number[] = [];
    for (const event of events) {
      // Slow hooks left too little of the lease: another dispatcher might dispatch this event too.
      if (clock.now() >= untilMs || this.#isStopping) {
        left.push(event.seq);
        continue;
      }
      try {
        await this.#withTimeLimit((options) => this.#callHooks(event, options));
        done.push(event.seq);
      } catch (error) {
        onError(error, event);
        await store.deferEvents([event.seq], hookDelayMs(event.tries + 1));
      }
    }
    if (done.length > 0) await store.acknowledgeEvents(done);
    if (left.length > 0) await store.deferEvents(left, 0);
    return done.length;
  }

  async #callHooks(event: EventRow, options: HookOptions): Promise<void> {
    const { onDeadLetter, onEvent } = this.#settings.hooks;
    if (event.type === "delivery.dead") await onDeadLetter?.(deadLetterOf(event), options);
    options.signal.throwIfAborted();
    await onEvent?.(event, options);
  }

  /** Waits for the hooks of one event; rejects when they take longer than `timeoutMs`. */
  async #withTimeLimit(hooks: (options: HookOptions) => Promise<void>): Promise<void> {
    const { clock, timeoutMs } = this.#settings;
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

  #poll(): void {
    const { clock, pollMs, batchSize, onError } = this.#settings;
    this.#running = this.tick()
      .then(
        (done) => done >= batchSize,
        (error: unknown) => {
          onError(error);
          return false;
        },
      )
      .then((isMore) => {
        if (!this.#isStarted) return;
        this.#timer = clock.setTimeout(() => this.#poll(), isMore ? 0 : pollMs);
      });
  }
}

function deadLetterOf({ deliveryId = "", messageId = "", data, atMs }: EventRow): DeadLetter {
  const { template } = data;
  const reason = String(data.reason ?? "");
  return {
    deliveryId,
    messageId,
    template: typeof template === "string" ? template : undefined,
    error: String(data.error ?? reason),
    reason,
    atMs,
  };
}
