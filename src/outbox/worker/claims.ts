/**
 * Finds due deliveries: which lanes to ask, for how many, and when asking is worth a call.
 *
 * A lane counts as empty from the moment it is asked, until its answer or a signal of the store says
 * otherwise, or a poll's time has passed. So an idle worker asks once per poll, one enqueue costs one
 * claim, and what comes while an answer is on its way is not overlooked.
 */
import type { Claim, ClaimedDelivery, Lane } from "../model/rows.ts";
import type { Leases } from "./leases.ts";
import type { WorkerSettings } from "./options.ts";
import type { Routes } from "./routes.ts";

/** In the order in which they are looked at. Of quarantine one at a time is taken, so it starves nobody. */
const lanes: readonly Lane[] = ["quarantine", "critical", "local", "normal", "bulk"];

/** Longest time a delivery is put off because its route has no room, in milliseconds. */
const longestPutOffMs = 60_000;

/** Due rows looked at in one claim once some had to be put off, so that they cannot hide what is behind them. */
const farLook = 1_000;

/** What a look at the lanes found; `more` says that due rows may be left behind those put off. */
export interface Found {
  readonly found: number;
  readonly more: boolean;
}

export interface ClaimsOptions {
  readonly settings: WorkerSettings;
  readonly leases: Leases;
  readonly routes: Routes;
}

export class Claims {
  readonly #settings: WorkerSettings;
  readonly #leases: Leases;
  readonly #routes: Routes;
  /** Monotonic instant before which a lane that seems empty is not asked again. */
  readonly #emptyUntilMs = new Map<Lane, number>();
  /** Rows put off since a look saw all that was due. */
  #passed = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor({ settings, leases, routes }: ClaimsOptions) {
    this.#settings = settings;
    this.#leases = leases;
    this.#routes = routes;
  }

  /** Something may be due in this lane, or in any. */
  readonly expect = (lane?: Lane): void => {
    if (lane === undefined) this.#emptyUntilMs.clear();
    else this.#emptyUntilMs.delete(lane);
  };

  /**
   * How many more to claim: a quarter of what fits at least, so that claims stay few and large; but
   * what slow servers leave free is used too, a moment later.
   */
  room(inFlight: number): number {
    const { concurrency, batchSize, clock, pollMs } = this.#settings;
    const free = Math.min(concurrency - inFlight, batchSize);
    const worthwhile = Math.ceil(Math.min(concurrency, batchSize) / 4);
    const rested = clock.now() - this.#lastMs >= pollMs[0];
    return free >= worthwhile || rested ? Math.max(free, 0) : 0;
  }

  /**
   * Claims from the lanes in order until the room is filled; what one gave need not wait for the next.
   * Rejects as the store does, unless something was leased before: that must be carried.
   */
  async look(
    room: number,
    quarantine: boolean,
    take: (claimed: ClaimedDelivery) => void,
  ): Promise<Found> {
    const { clock, onEvent } = this.#settings;
    await this.#leases.makeCertain();
    this.#lastMs = clock.now();
    let found = 0;
    let more = false;
    for (const lane of lanes) {
      if (found === room) break;
      if ((this.#emptyUntilMs.get(lane) ?? 0) > clock.now()) continue;
      // What its workers did not survive is carried alone.
      if (lane === "quarantine" && !quarantine) continue;
      if (lane === "local" && this.#settings.exceptRoutes.length > 0) continue;
      const limit = lane === "quarantine" ? 1 : room - found;
      const look = this.#passed > 0 ? Math.max(limit, farLook) : limit;
      let claim: Claim;
      try {
        claim = await this.#claim(lane, limit, look);
      } catch (error) {
        this.expect(lane);
        if (found === 0) throw error;
        onEvent({ kind: "store-failed", doing: "claim", error });
        break;
      }
      for (const claimed of claim.deliveries) {
        found += 1;
        this.#routes.begin(claimed.route);
        take(claimed);
      }
      const { deliveries, putOff } = claim;
      const sawAll = deliveries.length + putOff < look;
      if (!sawAll || deliveries.length === limit) this.expect(lane);
      more ||= !sawAll && putOff > 0;
      this.#passed += putOff;
    }
    if (!more) this.#passed = 0;
    return { found, more };
  }

  #claim(lane: Lane, limit: number, look: number): Promise<Claim> {
    const {
      store,
      clock,
      pollMs,
      leaseMs,
      name,
      inlineBytes,
      intents,
      routeConcurrency,
      exceptRoutes,
      putOffMs,
    } = this.#settings;
    this.#emptyUntilMs.set(lane, clock.now() + pollMs[1]);
    // The more there is that has no room, the longer it waits: looking at it must not be all we do.
    const longer = putOffMs * (1 + Math.floor(this.#passed / 1_000));
    return store.claim({
      lane,
      limit,
      look,
      leaseMs,
      worker: name,
      inlineBytes,
      intents,
      routeRoom: routeConcurrency,
      busyRoutes: this.#routes.busy(),
      // What is in quarantine stays there, and has no room here.
      ...(lane !== "quarantine" && { exceptRoutes }),
      putOffMs: Math.min(longer, Math.max(putOffMs, longestPutOffMs)),
    });
  }
}
