/**
 * The worker: leases what is due, has it sent, and makes durable what became of it.
 *
 * It never holds a database transaction while it talks to a mail server. It takes no more than it can
 * send at once, nothing while its own leases may have run out, and gives back what it did not begin.
 * Nothing that one delivery does, and no failure of the store, ends the loop.
 */

import { MemoryBudget } from "../../mail/index.ts";
import type { ClaimedDelivery } from "../model/rows.ts";
import { Claims, type Found } from "./claims.ts";
import { Leases } from "./leases.ts";
import { type WorkerOptions, type WorkerSettings, workerSettings } from "./options.ts";
import { carry, type Fate, giveBack, type Sending } from "./process-delivery.ts";
import { pause } from "./retry-until-done.ts";
import { Routes } from "./routes.ts";
import { isForeignSchema, SchemaWatch } from "./schema-watch.ts";
import { Bell } from "./wake-signal.ts";

/** What became of the deliveries of one tick. */
export type TickReport = { readonly claimed: number } & Readonly<Record<Fate, number>>;

export interface WorkerStats {
  /** Deliveries being sent, or whose outcome is not durable yet. */
  readonly inFlight: number;
  readonly carried: Readonly<Record<Fate, number>>;
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
  readonly #claims: Claims;
  readonly #schema: SchemaWatch;
  /** Of this start; what was sent before has its own, which was given up. */
  #sending: Sending;
  #givingUp = new AbortController();
  readonly #carried = noFates();
  readonly #bell: Bell;
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
    this.#schema = new SchemaWatch(this.settings);
    this.#claims = new Claims({
      settings: this.settings,
      leases: this.#leases,
      routes: this.#routes,
    });
    this.#sending = {
      settings: this.settings,
      leases: this.#leases,
      routes: this.#routes,
      bodies: new MemoryBudget(this.settings.bodyMemoryBytes),
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
    this.#givingUp = new AbortController();
    this.#sending = { ...this.#sending, givingUp: this.#givingUp.signal };
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

  /**
   * Works until the signal aborts and what was begun is done; never rejects. Ends as well, and says
   * `outdated`, when a newer program has changed the tables.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { store, intervalMs } = this.settings;
    if (intervalMs !== false) return this.#runByTicks(intervalMs, signal);
    const forget = store.onDue((lane) => {
      this.#claims.expect(lane);
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
    const declined = new Set<number>();
    while (seen.size < batchSize && !signal?.aborted) {
      // What was carried may have made more due: a route that works again.
      this.#claims.expect();
      const claimedMs = this.settings.clock.now();
      const room = Math.min(concurrency, batchSize - seen.size);
      const deliveries: ClaimedDelivery[] = [];
      const { more } = await this.#look(room, (claimed) => deliveries.push(claimed));
      if (deliveries.length === 0 && !more) break;
      // Due again already: a tick must not spend a delivery's attempts in a row.
      const again = deliveries.filter(({ delivery }) => seen.has(delivery));
      const carried = deliveries.map((claimed) =>
        again.includes(claimed) || signal?.aborted
          ? this.#decline(claimed, signal)
          : this.#carry(claimed, claimedMs),
      );
      for (const { delivery } of deliveries) seen.add(delivery);
      for (const fate of await Promise.all(carried)) fates[fate] += 1;
      // With a store slower than `putOffMs` it would be given back without end.
      if (again.some(({ delivery }) => declined.has(delivery))) break;
      for (const { delivery } of again) declined.add(delivery);
    }
    return { claimed: seen.size, ...fates };
  }

  async #runByTicks(intervalMs: number, signal: AbortSignal): Promise<void> {
    const { clock, onEvent } = this.settings;
    while (!signal.aborted) {
      try {
        await this.tick(signal);
      } catch (error) {
        if (isForeignSchema(error)) return onEvent({ kind: "outdated", error });
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
      const room = this.#claims.room(this.#inFlight);
      if (room === 0) {
        await this.#bell.heard(
          this.#inFlight < this.settings.concurrency ? leastPauseMs : mostPauseMs,
        );
        continue;
      }
      try {
        const claimedMs = clock.now();
        const { found, more } = await this.#look(room, (claimed) => {
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
        if (isForeignSchema(error)) {
          onEvent({ kind: "outdated", error });
          break;
        }
        onEvent({ kind: "store-failed", doing: "claim", error });
      }
      if (signal.aborted) break;
      await this.#bell.heard(pauseMs * (0.75 + 0.5 * random()));
      pauseMs = Math.min(pauseMs * 2, mostPauseMs);
    }
    while (this.#inFlight > 0) await this.#bell.heard(mostPauseMs);
  }

  async #look(room: number, take: (claimed: ClaimedDelivery) => void): Promise<Found> {
    await this.#schema.check();
    return this.#claims.look(room, this.#quarantined === 0, take);
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
