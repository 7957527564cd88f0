/**
 * The worker: leases what is due, has it sent, and makes durable what became of it.
 *
 * It never holds a database transaction while it talks to a mail server. It takes no more than it can
 * send at once, stops taking when outcomes cannot be written, and gives back what it did not begin.
 * Nothing that one delivery does, and no failure of the store, ends the loop.
 */
import { Bell } from "./bell.ts";
import { Leases } from "./leases.ts";
import { pause } from "./patience.ts";
import { Routes } from "./routes.ts";
import type { Claim, ClaimedDelivery, Lane } from "./rows.ts";
import { carry, type Fate, type Sending } from "./sending.ts";
import { type WorkerOptions, type WorkerSettings, workerSettings } from "./worker-options.ts";

/** What became of the deliveries of one tick. */
export type TickReport = { readonly claimed: number } & Readonly<Record<Fate, number>>;

export interface WorkerStats {
  /** Deliveries being sent, or whose outcome is not durable yet. */
  readonly inFlight: number;
  readonly carried: Readonly<Record<Fate, number>>;
}

/** In the order in which they are looked at. */
const lanes: readonly Lane[] = ["critical", "normal", "bulk", "quarantine"];

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
  readonly #givingUp = new AbortController();
  readonly #carried = noFates();
  readonly #bell: Bell;
  /** Monotonic instant before which a lane that was empty is not looked at again. */
  readonly #emptyUntilMs = new Map<Lane, number>();
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
    this.#sending = {
      settings: this.settings,
      leases: this.#leases,
      routes: this.#routes,
      givingUp: this.#givingUp.signal,
    };
  }

  stats(): WorkerStats {
    return { inFlight: this.#inFlight, carried: { ...this.#carried } };
  }

  /** Begins to work, until {@link stop}. Does nothing when it works already. */
  start(): void {
    if (this.#running) return;
    const stop = new AbortController();
    this.#running = { stop, ended: this.run(stop.signal) };
  }

  /**
   * Takes nothing new, and waits for what is being sent. After `drainMs` sends that have not reached
   * their final dot are broken off and given back; the others end with their reply. Idempotent.
   */
  async stop({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    const running = this.#running;
    if (!running) return;
    running.stop.abort();
    const { clock } = this.settings;
    const timer = clock.setTimeout(() => {
      this.#leases.abortAll(new Error("the worker stops"));
      this.#givingUp.abort();
    }, drainMs);
    await running.ended;
    clock.clearTimeout(timer);
    this.#running = undefined;
  }

  /** Works until the signal aborts and what was begun is done; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, intervalMs } = this.settings;
    if (intervalMs !== false) return this.#runByTicks(intervalMs, signal);
    const forget = store.onDue(() => {
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
    const { batchSize, concurrency, putOffMs: delayMs, store } = this.settings;
    const fates = noFates();
    const seen = new Set<number>();
    this.#emptyUntilMs.clear();
    while (seen.size < batchSize && !signal?.aborted) {
      const claimedMs = this.settings.clock.now();
      const deliveries = await this.#claimAny(Math.min(concurrency, batchSize - seen.size));
      if (deliveries.length === 0) break;
      const carried = deliveries.map(async (claimed) => {
        if (!seen.has(claimed.delivery)) return this.#carry(claimed, claimedMs);
        // Due again already: a tick must not spend a delivery's attempts in a row.
        await store.release([{ delivery: claimed.delivery, token: claimed.token, delayMs }]);
        return "released" as const;
      });
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
    const { pollMs, onEvent, clock } = this.settings;
    const [leastPauseMs, mostPauseMs] = pollMs;
    let pauseMs = leastPauseMs;
    while (!signal.aborted) {
      const room = this.#room();
      if (room === 0) {
        await this.#bell.heard(mostPauseMs);
        continue;
      }
      try {
        const claimedMs = clock.now();
        const deliveries = await this.#claimAny(room);
        for (const claimed of deliveries)
          void this.#carry(claimed, claimedMs).then(() => this.#bell.ring());
        if (deliveries.length > 0) {
          pauseMs = leastPauseMs;
          continue;
        }
      } catch (error) {
        onEvent({ kind: "store-failed", doing: "claim", error });
      }
      if (signal.aborted) break;
      await this.#bell.heard(pauseMs * (0.75 + 0.5 * this.settings.random()));
      pauseMs = Math.min(pauseMs * 2, mostPauseMs);
    }
    while (this.#inFlight > 0) await this.#bell.heard(mostPauseMs);
  }

  /** How many more to claim: a quarter of what fits at least, so that claims stay few and large. */
  #room(): number {
    const { concurrency, batchSize } = this.settings;
    const free = concurrency - this.#inFlight;
    const worthwhile = Math.ceil(Math.min(concurrency, batchSize) / 4);
    return free >= worthwhile ? Math.min(free, batchSize) : 0;
  }

  /** Claims from the lanes in order until the room is filled. */
  async #claimAny(room: number): Promise<readonly ClaimedDelivery[]> {
    const { clock, pollMs, onEvent } = this.settings;
    const deliveries: ClaimedDelivery[] = [];
    for (const lane of lanes) {
      if (deliveries.length === room) break;
      if ((this.#emptyUntilMs.get(lane) ?? 0) > clock.now()) continue;
      // What its workers did not survive is carried alone.
      if (lane === "quarantine" && this.#quarantined > 0) continue;
      const limit = lane === "quarantine" ? 1 : room - deliveries.length;
      let claim: Claim;
      try {
        claim = await this.#claim(lane, limit);
      } catch (error) {
        // What was leased before must be carried.
        if (deliveries.length === 0) throw error;
        onEvent({ kind: "store-failed", doing: "claim", error });
        break;
      }
      deliveries.push(...claim.deliveries);
      if (claim.deliveries.length + claim.putOff < limit) {
        this.#emptyUntilMs.set(lane, clock.now() + pollMs[0]);
      }
    }
    return deliveries;
  }

  #claim(lane: Lane, limit: number): Promise<Claim> {
    const { store, leaseMs, name, inlineBytes, intents, routeConcurrency, putOffMs } =
      this.settings;
    return store.claim({
      lane,
      limit,
      leaseMs,
      worker: name,
      inlineBytes,
      intents,
      routeRoom: routeConcurrency,
      busyRoutes: this.#routes.busy(),
      putOffMs,
    });
  }

  async #carry(claimed: ClaimedDelivery, claimedMs: number): Promise<Fate> {
    const held = this.#leases.hold(claimed, claimedMs);
    const quarantined = claimed.lane === "quarantine" ? 1 : 0;
    this.#inFlight += 1;
    this.#quarantined += quarantined;
    this.#routes.begin(claimed.route);
    const fate = await carry(claimed, held, claimedMs, this.#sending);
    this.#routes.end(claimed.route);
    this.#quarantined -= quarantined;
    this.#inFlight -= 1;
    this.#carried[fate] += 1;
    return fate;
  }
}
