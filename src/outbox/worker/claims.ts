/**
 * Claims due deliveries for the worker, lane by lane. A lane is a queue of its own for one kind of
 * delivery. Decides which lanes to ask, for how many deliveries, and when a call is worth its cost.
 *
 * A lane counts as empty from the call that asks it until the answer shows more due deliveries, the
 * store signals one, or the longest poll pause has passed. So an idle worker asks each lane once
 * per poll, one enqueue costs one claim, and mail that arrives during a call is claimed next.
 */
import type { Claim, ClaimedDelivery, Lane } from "../model/rows.ts";
import type { Leases } from "./leases.ts";
import type { WorkerSettings } from "./options.ts";
import type { Routes } from "./routes.ts";

/** In claim order. Quarantine is first and starves no other lane: a claim takes one from it. */
const lanes: readonly Lane[] = ["quarantine", "critical", "local", "normal", "bulk"];

/** Upper bound of the time a delivery is put off because its route has no room, in milliseconds. */
const maxPutOffMs = 60_000;

/** Rows that a claim examines at least while rows are put off, so that these do not hide others. */
const minRowsPastPutOff = 1_000;

export interface ClaimedDue {
  /** How many deliveries were claimed. */
  readonly found: number;
  /** Whether due rows that no claim examined may be left behind the rows that were put off. */
  readonly more: boolean;
}

interface ClaimsOptions {
  readonly settings: WorkerSettings;
  readonly leases: Leases;
  readonly routes: Routes;
}

export class Claims {
  readonly #settings: WorkerSettings;
  readonly #leases: Leases;
  readonly #routes: Routes;
  /** By lane: the monotonic instant until which the lane counts as empty. */
  readonly #emptyUntilMs = new Map<Lane, number>();
  /** Rows that were put off since the last claim that examined all due rows. */
  #passed = 0;
  /** Monotonic instant of the last claim. */
  #lastAtMs = Number.NEGATIVE_INFINITY;

  constructor({ settings, leases, routes }: ClaimsOptions) {
    this.#settings = settings;
    this.#leases = leases;
    this.#routes = routes;
  }

  /** Makes the next `claimDue` ask this lane, or without one every lane: mail may be due in it. */
  readonly expect = (lane?: Lane): void => {
    if (lane === undefined) this.#emptyUntilMs.clear();
    else this.#emptyUntilMs.delete(lane);
  };

  /**
   * How many deliveries to claim now. Zero while the room is less than a quarter of the largest
   * claim, so that claims stay few and large. Once `pollMs[0]` has passed since the last claim any
   * room counts, so that slow servers do not leave room unused.
   */
  room(inFlight: number): number {
    const { concurrency, batchSize, clock, pollMs } = this.#settings;
    const free = Math.min(concurrency - inFlight, batchSize);
    const worthwhile = Math.ceil(Math.min(concurrency, batchSize) / 4);
    const isRested = clock.now() - this.#lastAtMs >= pollMs[0];
    return free >= worthwhile || isRested ? Math.max(free, 0) : 0;
  }

  /**
   * Claims from the lanes in order until `room` is filled. `take` gets each delivery at once,
   * before the next lane is asked. Rejects with the store's error while no delivery is claimed; a
   * later error becomes an event, and the deliveries claimed by then count.
   */
  async claimDue(
    room: number,
    withQuarantine: boolean,
    take: (claimed: ClaimedDelivery) => void,
  ): Promise<ClaimedDue> {
    const { clock, onEvent } = this.#settings;
    await this.#leases.makeCertain();
    this.#lastAtMs = clock.now();
    let found = 0;
    let more = false;
    for (const lane of lanes) {
      if (found === room) break;
      if ((this.#emptyUntilMs.get(lane) ?? 0) > clock.now()) continue;
      // A delivery in quarantine is processed alone.
      if (lane === "quarantine" && !withQuarantine) continue;
      if (lane === "local" && this.#settings.exceptRoutes.length > 0) continue;
      const limit = lane === "quarantine" ? 1 : room - found;
      const maxRows = this.#passed > 0 ? Math.max(limit, minRowsPastPutOff) : limit;
      let claim: Claim;
      try {
        claim = await this.#claim(lane, limit, maxRows);
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
      const sawAll = deliveries.length + putOff < maxRows;
      if (!sawAll || deliveries.length === limit) this.expect(lane);
      more ||= !sawAll && putOff > 0;
      this.#passed += putOff;
    }
    if (!more) this.#passed = 0;
    return { found, more };
  }

  #claim(lane: Lane, limit: number, maxRows: number): Promise<Claim> {
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
    // Every 1,000 rows put off in a row of claims add one `putOffMs` to the time until a row is due
    // again: else the first rows are due again before claims have come past the last.
    const longerMs = putOffMs * (1 + Math.floor(this.#passed / 1_000));
    return store.claim({
      lane,
      limit,
      maxRows,
      leaseMs,
      worker: name,
      inlineBytes,
      intents,
      routeRoom: routeConcurrency,
      busyRoutes: this.#routes.busy(),
      // Deliveries of these routes stay in quarantine; `busyRoutes` gives them no room here.
      exceptRoutes: lane === "quarantine" ? [] : exceptRoutes,
      putOffMs: Math.min(longerMs, Math.max(putOffMs, maxPutOffMs)),
    });
  }
}
