/**
 * The worker: claims due deliveries (`claims.ts`), sends each (`process-delivery.ts`) and makes its
 * outcome durable. Applications start and stop it.
 *
 * A worker holds no database transaction while it talks to a mail server. It claims no more than it
 * can send at once, and nothing while one of its own leases may have run out. It releases each
 * claimed delivery that it does not begin. No delivery and no failure of the store ends its loop.
 */

import { MemoryBudget } from "../../mail/index.ts";
import { within } from "../../system/index.ts";
import type { ClaimedDelivery } from "../model/rows.ts";
import { type ClaimedDue, Claims } from "./claims.ts";
import type { WorkerContext } from "./context.ts";
import { Leases } from "./leases.ts";
import { type WorkerOptions, type WorkerSettings, workerSettings } from "./options.ts";
import { processDelivery } from "./process-delivery.ts";
import { releaseLease } from "./record.ts";
import type { AttemptResult } from "./report.ts";
import { pause } from "./retry-until-done.ts";
import { Routes } from "./routes.ts";
import { isForeignSchema, SchemaWatch } from "./schema-watch.ts";
import { WakeSignal } from "./wake-signal.ts";

/** The number of deliveries that one tick claimed, and of each result. */
export type TickReport = { readonly claimed: number } & Readonly<Record<AttemptResult, number>>;

export interface WorkerStats {
  /** Deliveries being sent, or whose outcome is not durable yet. */
  readonly inFlight: number;
  /** Number of deliveries processed since the worker was made, by result. */
  readonly carried: Readonly<Record<AttemptResult, number>>;
}

const noResults = (): Record<AttemptResult, number> => ({
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
  /**
   * The context of the deliveries since the last `start`. A delivery that a `stop` left behind has
   * an older context, whose `givingUp` is aborted.
   */
  #context: WorkerContext;
  #givingUp = new AbortController();
  readonly #results = noResults();
  readonly #wake: WakeSignal;
  #inFlight = 0;
  #quarantined = 0;
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

  /** @throws {OutboxError} ERR_OUTBOX_OPTION. */
  constructor(options: WorkerOptions) {
    const settings = workerSettings(options);
    const { store, clock, leaseMs, onEvent } = settings;
    const onError = (error: unknown) => onEvent({ kind: "store-failed", doing: "renew", error });
    const leases = new Leases({ store, clock, leaseMs, onError });
    const routes = new Routes(settings);
    this.settings = settings;
    this.#leases = leases;
    this.#routes = routes;
    this.#claims = new Claims({ settings, leases, routes });
    this.#schema = new SchemaWatch(settings);
    this.#wake = new WakeSignal(clock);
    const bodies = new MemoryBudget(settings.bodyMemoryBytes);
    this.#context = { settings, leases, routes, bodies, givingUp: this.#givingUp.signal };
  }

  stats(): WorkerStats {
    return { inFlight: this.#inFlight, carried: { ...this.#results } };
  }

  /** Starts the loop, which runs until {@link stop}. Does nothing while the loop is running. */
  start(): void {
    if (this.#running) return;
    const stop = new AbortController();
    this.#givingUp = new AbortController();
    this.#context = { ...this.#context, givingUp: this.#givingUp.signal };
    this.#running = { stop, ended: this.run(stop.signal) };
  }

  /**
   * Stops: claims nothing more, and waits for the deliveries in flight. After `drainMs` each send
   * before its final dot is aborted and its lease released; each other send has `replyMs` more for
   * its reply. A delivery without a reply by then, or whose outcome the store does not answer, is
   * in doubt when its lease runs out. Resolves with the number of such deliveries. Idempotent.
   */
  async stop({
    drainMs = 10_000,
    replyMs = 10_000,
  }: {
    readonly drainMs?: number | undefined;
    readonly replyMs?: number | undefined;
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
    await within(running.ended, drainMs + replyMs, undefined, clock);
    clock.clearTimeout(drained);
    if (this.#running === running) this.#running = undefined;
    return { left: this.#inFlight };
  }

  /**
   * Claims and sends until the signal aborts and the deliveries in flight have ended; never
   * rejects. Ends as well, with the event `outdated`, when a newer program has changed the tables.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { store, intervalMs } = this.settings;
    if (intervalMs !== false) return this.#runByTicks(intervalMs, signal);
    const unsubscribe = store.onDue((lane) => {
      this.#claims.expect(lane);
      this.#wake.set();
    });
    const onStop = () => this.#wake.set();
    signal.addEventListener("abort", onStop, { once: true });
    try {
      await this.#runBySignals(signal);
    } finally {
      unsubscribe();
      signal.removeEventListener("abort", onStop);
    }
  }

  /**
   * Claims and processes up to `batchSize` deliveries, `concurrency` at a time, each at most once,
   * without timers of its own. Resolves when all these deliveries have ended. Rejects with the
   * store's error of a claim.
   */
  async tick(signal?: AbortSignal): Promise<TickReport> {
    const { batchSize, concurrency, clock } = this.settings;
    const results = noResults();
    const seen = new Set<number>();
    const declined = new Set<number>();
    while (seen.size < batchSize && !signal?.aborted) {
      // A delivery of this tick may have made others due, by opening its route.
      this.#claims.expect();
      const claimedAtMs = clock.now();
      const room = Math.min(concurrency, batchSize - seen.size);
      const deliveries: ClaimedDelivery[] = [];
      const { more } = await this.#claimDue(room, (claimed) => deliveries.push(claimed));
      if (deliveries.length === 0 && !more) break;
      // A retry that is due again already: one tick must not spend several attempts of a delivery.
      const again = deliveries.filter(({ delivery }) => seen.has(delivery));
      const ends = deliveries.map((claimed) =>
        again.includes(claimed) || signal?.aborted
          ? this.#decline(claimed, signal)
          : this.#process(claimed, claimedAtMs),
      );
      for (const { delivery } of deliveries) seen.add(delivery);
      for (const result of await Promise.all(ends)) results[result] += 1;
      // On a store slower than `putOffMs` such a retry would be claimed and released without end.
      if (again.some(({ delivery }) => declined.has(delivery))) break;
      for (const { delivery } of again) declined.add(delivery);
    }
    return { claimed: seen.size, ...results };
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

  /** Claims while there is room and mail may be due; else waits for a signal or the next poll. */
  async #runBySignals(signal: AbortSignal): Promise<void> {
    const { pollMs, concurrency, onEvent, clock, random } = this.settings;
    const [minPauseMs, maxPauseMs] = pollMs;
    let pauseMs = minPauseMs;
    while (!signal.aborted) {
      const room = this.#claims.room(this.#inFlight);
      if (room === 0) {
        await this.#wake.wait(this.#inFlight < concurrency ? minPauseMs : maxPauseMs);
        continue;
      }
      try {
        const claimedAtMs = clock.now();
        const { found, more } = await this.#claimDue(room, (claimed) => {
          const ended = signal.aborted
            ? this.#decline(claimed, signal)
            : this.#process(claimed, claimedAtMs);
          void ended.then(() => this.#wake.set());
        });
        if (found > 0 || more) {
          pauseMs = minPauseMs;
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
      await this.#wake.wait(pauseMs * (0.75 + 0.5 * random()));
      pauseMs = Math.min(pauseMs * 2, maxPauseMs);
    }
    while (this.#inFlight > 0) await this.#wake.wait(maxPauseMs);
  }

  async #claimDue(room: number, take: (claimed: ClaimedDelivery) => void): Promise<ClaimedDue> {
    await this.#schema.check();
    return this.#claims.claimDue(room, this.#quarantined === 0, take);
  }

  /** Releases a claimed delivery that is not to be processed now. */
  async #decline(claimed: ClaimedDelivery, signal?: AbortSignal): Promise<AttemptResult> {
    const { delivery, token, route } = claimed;
    const delayMs = signal?.aborted ? 0 : this.settings.putOffMs;
    this.#inFlight += 1;
    await releaseLease({ delivery, token, delayMs }, this.#context);
    this.#inFlight -= 1;
    this.#routes.end(route);
    return "released";
  }

  async #process(claimed: ClaimedDelivery, claimedAtMs: number): Promise<AttemptResult> {
    // The lease ran out in the store but not here, and this worker still sends the delivery: it
    // must not send it twice at a time.
    if (this.#leases.has(claimed.delivery)) return this.#decline(claimed);
    const held = this.#leases.hold(claimed, claimedAtMs);
    const quarantined = claimed.lane === "quarantine" ? 1 : 0;
    this.#inFlight += 1;
    this.#quarantined += quarantined;
    const result = await processDelivery({ claimed, held, claimedAtMs }, this.#context);
    this.#routes.end(claimed.route);
    this.#quarantined -= quarantined;
    this.#inFlight -= 1;
    this.#results[result] += 1;
    return result;
  }
}
