/**
 * The leases a worker holds. One heartbeat renews all of them; whoever loses one is told at once.
 *
 * How much is left of a lease is measured on the monotonic clock from *before* the call that got or
 * renewed it, so the worker always believes in less time than the store does.
 */
import type { Clock, TimerHandle } from "../system/index.ts";
import type { Lease } from "./rows.ts";
import type { OutboxStore } from "./store.ts";

/** The lease is somebody else's now, or too little is left of it. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/** What is left below this part of a lease is no time to begin what cannot be undone. */
const freshPart = 0.25;

/** A lease under which a delivery is being worked on. */
export class HeldLease implements Lease {
  readonly delivery: number;
  readonly token: number;
  /** The instant until which it is certain, on the monotonic clock. */
  untilMs: number;
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
    this.#abort.abort(reason);
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
  readonly #held = new Set<HeldLease>();
  #timer: TimerHandle;
  #renewing = false;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** Begins to renew a lease that was got by a call made at `askedMs`. */
  hold(lease: Lease, askedMs: number): HeldLease {
    const held = new HeldLease(lease, askedMs + this.#options.leaseMs);
    this.#held.add(held);
    this.#schedule();
    return held;
  }

  /** Ends renewing it: it was completed or given back, or is lost. */
  drop(held: HeldLease): void {
    this.#held.delete(held);
    if (this.#held.size > 0 || this.#timer === undefined) return;
    this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether enough is left of it to send a final dot. */
  isFresh({ untilMs }: HeldLease): boolean {
    const { clock, leaseMs } = this.#options;
    return untilMs - clock.now() >= leaseMs * freshPart;
  }

  /** Aborts all work under way. */
  abortAll(reason: unknown): void {
    for (const held of this.#held) held.abort(reason);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#renewing) return;
    const { clock, leaseMs } = this.#options;
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#renew();
    }, leaseMs / 3);
  }

  async #renew(): Promise<void> {
    const { store, clock, leaseMs, onError } = this.#options;
    const held = [...this.#held];
    const askedMs = clock.now();
    this.#renewing = true;
    try {
      const valid = await store.renew(held, leaseMs);
      for (const [index, lease] of held.entries()) {
        if (valid[index]) lease.untilMs = askedMs + leaseMs;
        else if (this.#held.has(lease)) lease.abort(new LeaseLost("the lease was lost"));
      }
    } catch (error) {
      onError(error);
    } finally {
      this.#renewing = false;
      if (this.#held.size > 0) this.#schedule();
    }
  }
}
