/**
 * The leases a worker holds. One heartbeat renews all of them; whoever loses one is told at once, and
 * so is whoever holds one that has run out while the store did not answer.
 *
 * How much is left of a lease is measured on the monotonic clock from *before* the call that got or
 * renewed it, so the worker always believes in less time than the store does.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Lease } from "../model/rows.ts";
import type { OutboxStore } from "../model/store.ts";

/** The lease is somebody else's now, or too little is left of it. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/** What is left below this part of a lease is no time to begin what cannot be undone. */
const freshPart = 0.25;

/** Heartbeats under way at a time: one that the store never answers must not be the last. */
const beatsAtOnce = 3;

/** A lease under which a delivery is being worked on. */
export class HeldLease implements Lease {
  readonly delivery: number;
  readonly token: number;
  /** The instant until which it is certain, on the monotonic clock. */
  untilMs: number;
  /** The store said that it is not valid any more. */
  isLost = false;
  /** Told once, when the signal aborts. */
  onAbort: (() => void) | undefined;
  readonly #abort = new AbortController();

  constructor({ delivery, token }: Lease, untilMs: number) {
    this.delivery = delivery;
    this.token = token;
    this.untilMs = untilMs;
  }

  /** Aborts when the lease is lost, or the work is to end. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  abort(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#abort.abort(reason);
    this.onAbort?.();
  }
}

export interface LeasesOptions {
  readonly store: OutboxStore;
  readonly clock: Clock;
  readonly leaseMs: number;
  /** Told when the store did not renew; it is tried again. */
  readonly onError: (error: unknown) => void;
}

export class Leases {
  readonly #options: LeasesOptions;
  readonly #held = new Map<number, HeldLease>();
  #timer: TimerHandle;
  #beats = 0;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** Begins to renew a lease that was got by a call made at `askedMs`. */
  hold(lease: Lease, askedMs: number): HeldLease {
    const held = new HeldLease(lease, askedMs + this.#options.leaseMs);
    this.#held.set(lease.delivery, held);
    this.#schedule();
    return held;
  }

  /** Whether a delivery is being worked on, under whichever lease. */
  has(delivery: number): boolean {
    return this.#held.has(delivery);
  }

  /** Ends renewing it: it was completed or given back, or is lost. */
  drop(held: HeldLease): void {
    this.#held.delete(held.delivery);
    if (this.#held.size > 0 || this.#timer === undefined) return;
    this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether enough is left of it to send a final dot. */
  isFresh({ untilMs }: HeldLease): boolean {
    const { clock, leaseMs } = this.#options;
    return untilMs - clock.now() >= leaseMs * freshPart;
  }

  /**
   * Renews all if one may have run out, because a claim would take it from these very hands: when the
   * store is back after a while, or this process was stopped. Rejects as the store does.
   */
  async makeCertain(): Promise<void> {
    const now = this.#options.clock.now();
    for (const { isLost, untilMs } of this.#held.values()) {
      if (!isLost && untilMs <= now) return this.#renew();
    }
  }

  /** Aborts all work under way. */
  abortAll(reason: unknown): void {
    for (const held of this.#held.values()) held.abort(reason);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#held.size === 0) return;
    const { clock, leaseMs } = this.#options;
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      this.#schedule();
      void this.#beat();
    }, leaseMs / 3);
  }

  async #beat(): Promise<void> {
    const { clock, onError } = this.#options;
    for (const held of this.#held.values()) {
      if (held.untilMs <= clock.now()) held.abort(new LeaseLost("the lease ran out"));
    }
    if (this.#beats === beatsAtOnce) return onError(new Error("the store does not answer"));
    this.#beats += 1;
    try {
      await this.#renew();
    } catch (error) {
      onError(error);
    } finally {
      this.#beats -= 1;
    }
  }

  async #renew(): Promise<void> {
    const { store, clock, leaseMs } = this.#options;
    const asked = [...this.#held.values()].filter(({ isLost }) => !isLost);
    if (asked.length === 0) return;
    const askedMs = clock.now();
    const leases = asked.map(({ delivery, token }) => ({ delivery, token }));
    const valid = await store.renew(leases, leaseMs);
    for (const [index, held] of asked.entries()) {
      if (valid[index]) {
        held.untilMs = Math.max(held.untilMs, askedMs + leaseMs);
      } else if (this.#held.get(held.delivery) === held) {
        held.isLost = true;
        held.abort(new LeaseLost("the lease was lost"));
      }
    }
  }
}
