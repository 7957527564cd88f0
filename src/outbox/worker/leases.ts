/**
 * The leases that a worker holds. One heartbeat renews all of them. A send is aborted when the
 * store answers that its lease is not valid any more, or when the lease runs out while the store
 * does not answer.
 *
 * Invariant: the worker counts on less time than the store grants. The rest of a lease is measured
 * on the monotonic clock from *before* the call that claimed or renewed it.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Lease } from "../model/rows.ts";
import type { OutboxStore } from "../model/store.ts";

/**
 * The reason of an aborted send or a refused dot: the lease is not valid any more, too little of it
 * is left, or its attempt is over.
 */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/** With less than this part of a lease left, no final dot is granted: a dot cannot be undone. */
const freshPart = 0.25;

/** Heartbeats without an answer at a time: more than one, so that one cannot stop all renewals. */
const maxBeats = 3;

/** A lease under which a delivery is being processed. */
export class HeldLease implements Lease {
  readonly delivery: number;
  readonly token: number;
  /** Monotonic instant until which no other worker can have the lease. */
  expiresAtMs: number;
  /** The store answered that the lease is not valid any more. */
  isLost = false;
  /** The attempt sets it; called once, when the signal aborts. */
  onAbort: (() => void) | undefined;
  readonly #abort = new AbortController();

  constructor({ delivery, token }: Lease, expiresAtMs: number) {
    this.delivery = delivery;
    this.token = token;
    this.expiresAtMs = expiresAtMs;
  }

  /** Aborts when the lease is lost or runs out, at the time limit, or when the worker stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  abort(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#abort.abort(reason);
    this.onAbort?.();
  }
}

interface LeasesOptions {
  readonly store: OutboxStore;
  readonly clock: Clock;
  readonly leaseMs: number;
  /** Called when a heartbeat fails; the next one follows all the same. */
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

  /** Begins to renew the lease of a claim that was sent at `askedAtMs`, a monotonic instant. */
  hold(lease: Lease, askedAtMs: number): HeldLease {
    const held = new HeldLease(lease, askedAtMs + this.#options.leaseMs);
    this.#held.set(lease.delivery, held);
    this.#schedule();
    return held;
  }

  /** Whether a delivery is being processed here, under any lease. */
  has(delivery: number): boolean {
    return this.#held.has(delivery);
  }

  /** Stops renewing a lease, which was completed, released or lost. */
  drop(held: HeldLease): void {
    this.#held.delete(held.delivery);
    if (this.#held.size > 0 || this.#timer === undefined) return;
    this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether enough is left of a lease to send a final dot. */
  isFresh({ expiresAtMs }: HeldLease): boolean {
    const { clock, leaseMs } = this.#options;
    return expiresAtMs - clock.now() >= leaseMs * freshPart;
  }

  /**
   * Called before each claim. Renews all leases if one may have run out, as after an outage of the
   * store or a stop of this process: the claim would lease that delivery to this worker a second
   * time. Rejects with the store's error.
   */
  async makeCertain(): Promise<void> {
    const nowMs = this.#options.clock.now();
    for (const { isLost, expiresAtMs } of this.#held.values()) {
      if (!isLost && expiresAtMs <= nowMs) return this.#renew();
    }
  }

  /** Aborts every send under way. */
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
      if (held.expiresAtMs <= clock.now()) held.abort(new LeaseLost("the lease ran out"));
    }
    if (this.#beats === maxBeats) return onError(new Error("the store does not answer"));
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
    const askedAtMs = clock.now();
    const leases = asked.map(({ delivery, token }) => ({ delivery, token }));
    const valid = await store.renew(leases, leaseMs);
    for (const [index, held] of asked.entries()) {
      if (valid[index]) {
        held.expiresAtMs = Math.max(held.expiresAtMs, askedAtMs + leaseMs);
      } else if (this.#held.get(held.delivery) === held) {
        held.isLost = true;
        held.abort(new LeaseLost("the lease was lost"));
      }
    }
  }
}
