/**
 * The worker: leases what is due, has it sent, and makes durable what became of it.
 *
 * It never holds a database transaction while it talks to a mail server. It takes no more than it can
 * send at once, nothing while its own leases may have run out, and gives back what it did not begin.
 * Nothing that one delivery does, and no failure of the store, ends the loop.
 */

import type { Claim, ClaimedDelivery, Lane } from "../rows.ts";
import { Bell } from "./bell.ts";
import { Leases } from "./leases.ts";
import { pause } from "./patience.ts";
import { Routes } from "./routes.ts";
import { carry, type Fate, giveBack, type Sending } from "./sending.ts";
import { type WorkerOptions, type WorkerSettings, workerSettings } from "./worker-options.ts";

/** What became of the deliveries of one tick. */
export type TickReport = { readonly claimed: number } & Readonly<Record<Fate, number>>;

export interface WorkerStats {
  /** Deliveries being sent, or whose outcome is not durable yet. */
  readonly inFlight: number;
  readonly carried: Readonly<Record<Fate, number>>;
}

/** In the order in which they are looked at. Of quarantine one at a time is taken, so it starves nobody. */
const lanes: readonly Lane[] = ["quarantine", "critical", "normal", "bulk"];

/** Longest time a delivery is put off because its route has no room, in milliseconds. */
const longestPutOffMs = 60_000;

/** Due rows looked at in one claim once some had to be put off. */
const farLook = 1_000;

/** What a look at the lanes found; `more` says that due rows may be left behind those put off. */
interface Found {
  readonly found: number;
  readonly more: boolean;
}

const noFates = (): Record<Fate, number> => ({
  sent: 0,
  retry: 0,
  dead: 0,
  held: 0,
  released: 0,
  lost: 0,
});

export class Worker {
  readonly settings: WorkerSettings;
  readonly #leases: Leases;
  readonly #routes: Routes;
  readonly #sending: Sending;
  #givingUp = new AbortController();
  readonly #carried = noFates();
  readonly #bell: Bell;
  /** Monotonic instant before which a lane that was empty is not looked at again. */
  readonly #emptyUntilMs = new Map<Lane, number>();
  /** Counts how often something may have become due, so that an old look is not trusted. */
  #news = 0;
  /** Rows put off since a look saw all that was due. */
  #passed = 0;
  #claimedMs = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  #quarantined = 0;
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

  /** @throws {OutboxError} ERR_OUTBOX_OPTION. */
  constructor(options: WorkerOptions) {
    this.settings = workerSettings(options);
    const { store, clock, leaseMs, onEvent } = this.settings;
    this.#bell = new Bell(clock);
    const onError = (error: unknown) => onEvent({ kind: "store-failed", doing: "renew", error });
    this.#leases = new Leases({ store, clock, leaseMs, onError });
    this.#routes = new Routes(this.settings);
    const givingUp = () => this.#givingUp.signal;
    this.#sending = {
      settings: this.settings,
      leases: this.#leases,
      routes: this.#routes,
      get givingUp() {
        return givingUp();
      },
    };
  }

  stats(): WorkerStats {
    return { inFlight: this.#inFlight, carried: { ...this.#carried } };
  }

  /** Begins to work, until {@link stop}. Does nothing when it works already. */
  start(): void {
    if (this.#running) return;
    const stop = new AbortController();
    this.#givingUp = new AbortController();
    this.#running = { stop, ended: this.run(stop.signal) };
  }

  /**
   * Takes nothing new, and waits for what is being sent. After `drainMs` sends that have not reached
   * their final dot are broken off and given back; the others have `replyMs` more for their reply. What
   * has none by then, or whose outcome the store does not take, is in doubt when its lease runs out.
   * Resolves with how many those are. Idempotent.
   */
  async stop({
    drainMs = 10_000,
    replyMs = 10_000,
  }: {
    readonly drainMs?: number;
    readonly replyMs?: number;
  } = {}): Promise<{ left: number }> {
    const running = this.#running;
    if (!running) return { left: this.#inFlight };
    running.stop.abort();
    const { clock } = this.settings;
    const givingUp = this.#givingUp;
    const drained = clock.setTimeout(() => {
      givingUp.abort();
      this.#leases.abortAll(new Error("the worker stops"));
    }, drainMs);
    const late = Promise.withResolvers<void>();
    const over = clock.setTimeout(late.resolve, drainMs + replyMs);
    await Promise.race([running.ended, late.promise]);
    clock.clearTimeout(drained);
    clock.clearTimeout(over);
    if (this.#running === running) this.#running = undefined;
    return { left: this.#inFlight };
  }

  /** Works until the signal aborts and what was begun is done; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, intervalMs } = this.settings;
    if (intervalMs !== false) return this.#runByTicks(intervalMs, signal);
    const forget = store.onDue(() => {
      this.#news += 1;
      this.#emptyUntilMs.clear();
      this.#bell.ring();
    });
    const stopped = () => this.#bell.ring();
    signal.addEventListener("abort", stopped, { once: true });
    try {
      await this.#pump(signal);
    } finally {
      forget();
      signal.removeEventListener("abort", stopped);
    }
  }

  /**
   * One round without timers: leases and carries up to `batchSize` deliveries, `concurrency` at a time,
   * each at most once; resolves when all are done. @throws What the store throws when it cannot claim.
   */
  async tick(signal?: AbortSignal): Promise<TickReport> {
    const { batchSize, concurrency } = this.settings;
    const fates = noFates();
    const seen = new Set<number>();
    while (seen.size < batchSize && !signal?.aborted) {
      // What was carried may have made more due: a route that works again.
      this.#emptyUntilMs.clear();
      const claimedMs = this.settings.clock.now();
      const room = Math.min(concurrency, batchSize - seen.size);
      const deliveries: ClaimedDelivery[] = [];
      const { more } = await this.#claimAny(room, (claimed) => deliveries.push(claimed));
      if (deliveries.length === 0 && !more) break;
      const carried = deliveries.map((claimed) =>
        // Due again already: a tick must not spend a delivery's attempts in a row.
        seen.has(claimed.delivery) || signal?.aborted
          ? this.#decline(claimed, signal)
          : this.#carry(claimed, claimedMs),
      );
      for (const { delivery } of deliveries) seen.add(delivery);
      for (const fate of await Promise.all(carried)) fates[fate] += 1;
    }
    return { claimed: seen.size, ...fates };
  }

  async #runByTicks(intervalMs: number, signal: AbortSignal): Promise<void> {
    const { clock, onEvent } = this.settings;
    while (!signal.aborted) {
      try {
        await this.tick(signal);
      } catch (error) {
        onEvent({ kind: "store-failed", doing: "tick", error });
      }
      await pause(intervalMs, { clock, signal });
    }
  }

  async #pump(signal: AbortSignal): Promise<void> {
    const { pollMs, onEvent, clock, random } = this.settings;
    const [leastPauseMs, mostPauseMs] = pollMs;
    let pauseMs = leastPauseMs;
    while (!signal.aborted) {
      const room = this.#room();
      if (room === 0) {
        await this.#bell.heard(
          this.#inFlight < this.settings.concurrency ? leastPauseMs : mostPauseMs,
        );
        continue;
      }
      try {
        const claimedMs = clock.now();
        const { found, more } = await this.#claimAny(room, (claimed) => {
          const done = signal.aborted
            ? this.#decline(claimed, signal)
            : this.#carry(claimed, claimedMs);
          void done.then(() => this.#bell.ring());
        });
        if (found > 0 || more) {
          pauseMs = leastPauseMs;
          continue;
        }
      } catch (error) {
        onEvent({ kind: "store-failed", doing: "claim", error });
      }
      if (signal.aborted) break;
      await this.#bell.heard(pauseMs * (0.75 + 0.5 * random()));
      pauseMs = Math.min(pauseMs * 2, mostPauseMs);
    }
    while (this.#inFlight > 0) await this.#bell.heard(mostPauseMs);
  }

  /**
   * How many more to claim: a quarter of what fits at least, so that claims stay few and large; but
   * what slow servers leave free is used too, a moment later.
   */
  #room(): number {
    const { concurrency, batchSize, clock, pollMs } = this.settings;
    const free = Math.min(concurrency - this.#inFlight, batchSize);
    const worthwhile = Math.ceil(Math.min(concurrency, batchSize) / 4);
    const rested = clock.now() - this.#claimedMs >= pollMs[0];
    return free >= worthwhile || rested ? Math.max(free, 0) : 0;
  }

  /** Claims from the lanes in order until the room is filled; what one gave need not wait for the next. */
  async #claimAny(room: number, take: (claimed: ClaimedDelivery) => void): Promise<Found> {
    const { clock, pollMs, onEvent } = this.settings;
    await this.#leases.makeCertain();
    this.#claimedMs = clock.now();
    let found = 0;
    let more = false;
    for (const lane of lanes) {
      if (found === room) break;
      if ((this.#emptyUntilMs.get(lane) ?? 0) > clock.now()) continue;
      // What its workers did not survive is carried alone.
      if (lane === "quarantine" && this.#quarantined > 0) continue;
      const limit = lane === "quarantine" ? 1 : room - found;
      const news = this.#news;
      let claim: Claim;
      try {
        claim = await this.#claim(lane, limit);
      } catch (error) {
        // What was leased before must be carried.
        if (found === 0) throw error;
        onEvent({ kind: "store-failed", doing: "claim", error });
        break;
      }
      for (const claimed of claim.deliveries) {
        found += 1;
        this.#routes.begin(claimed.route);
        take(claimed);
      }
      const leased = claim.deliveries.length;
      if (leased + claim.putOff >= this.#lookOf(limit)) more ||= claim.putOff > 0;
      else if (leased < limit && news === this.#news)
        this.#emptyUntilMs.set(lane, clock.now() + pollMs[1]);
      this.#passed += claim.putOff;
    }
    if (!more) this.#passed = 0;
    return { found, more };
  }

  /** Looks far where much had to be put off, so that it cannot hide what is behind it. */
  #lookOf(limit: number): number {
    return this.#passed > 0 ? Math.max(limit, farLook) : limit;
  }

  #claim(lane: Lane, limit: number): Promise<Claim> {
    const { store, leaseMs, name, inlineBytes, intents, routeConcurrency, putOffMs } =
      this.settings;
    // The more there is that has no room, the longer it waits: looking at it must not be all we do.
    const longer = putOffMs * (1 + Math.floor(this.#passed / 1_000));
    return store.claim({
      lane,
      limit,
      look: this.#lookOf(limit),
      leaseMs,
      worker: name,
      inlineBytes,
      intents,
      routeRoom: routeConcurrency,
      busyRoutes: this.#routes.busy(),
      putOffMs: Math.min(longer, Math.max(putOffMs, longestPutOffMs)),
    });
  }

  /** Gives back what was claimed and is not to be carried now. */
  async #decline({ delivery, token, route }: ClaimedDelivery, signal?: AbortSignal): Promise<Fate> {
    const delayMs = signal?.aborted ? 0 : this.settings.putOffMs;
    this.#inFlight += 1;
    const fate = await giveBack({ delivery, token, delayMs }, this.#sending);
    this.#inFlight -= 1;
    this.#routes.end(route);
    return fate;
  }

  async #carry(claimed: ClaimedDelivery, claimedMs: number): Promise<Fate> {
    // Its lease ran out in the store, not here, and it is still being worked on: never twice at a time.
    if (this.#leases.has(claimed.delivery)) return this.#decline(claimed);
    const held = this.#leases.hold(claimed, claimedMs);
    const quarantined = claimed.lane === "quarantine" ? 1 : 0;
    this.#inFlight += 1;
    this.#quarantined += quarantined;
    const fate = await carry(claimed, held, claimedMs, this.#sending);
    this.#routes.end(claimed.route);
    this.#quarantined -= quarantined;
    this.#inFlight -= 1;
    this.#carried[fate] += 1;
    return fate;
  }
}
