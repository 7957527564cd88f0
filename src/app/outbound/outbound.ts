/**
 * Outbound mail of a running process: opens the outbox (open-outbox.ts), runs the worker that sends
 * due mail by the senders (senders.ts), the hook that logs dead letters, and the hourly purge.
 * Called by `postbag serve` and `postbag worker`.
 *
 * An outbox that cannot be opened does not stop the server from receiving mail: mail for other
 * domains gets 451, and opening is retried every five seconds until it succeeds.
 */
import type { Registry } from "prom-client";
import {
  EventDispatcher,
  mtaRetry,
  type Outbox,
  OutboxError,
  type OutboxHooks,
  referenceRetry,
  type StoreStats,
  Worker,
  type WorkerEvent,
  wantedBy,
  workerLogLine,
} from "../../outbox/index.ts";
import { type Clock, systemClock, type TimerHandle, within } from "../../system/index.ts";
import { AppError, errorFields, messageOf } from "../errors.ts";
import type { Logger } from "../observe/log.ts";
import { createOutboxMetrics } from "../observe/outbox-metrics.ts";
import { RetryingOpener } from "../retrying-opener.ts";
import type { Settings } from "../settings/table.ts";
import { openOutbox } from "./open-outbox.ts";
import type { Senders } from "./senders.ts";

export interface OutboundOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly senders: Senders;
  /** The registry to which the metrics of the outbox are added. */
  readonly registry: Registry;
  /**
   * Routes that this process must not send, because another process has their mailboxes.
   * @defaultValue no route is left out
   */
  readonly exceptRoutes?: readonly string[] | undefined;
  /** The clock of the purge and of the tries to open. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

const purgeEveryMs = 60 * 60 * 1_000;
/** The part of the time limit of a stop that is reserved for releasing leases on unsent mail. */
const releaseMs = 1_000;

export class Outbound {
  readonly #options: OutboundOptions;
  readonly #clock: Clock;
  readonly #opener: RetryingOpener<Outbox>;
  readonly #count: (event: WorkerEvent) => void;
  #worker: Worker | undefined;
  #dispatcher: EventDispatcher | undefined;
  #stopped: Promise<unknown> | undefined;
  #purgeTimer: TimerHandle;
  #isStarted = false;

  /**
   * Opens the outbox; after `ERR_APP_OUTBOX_NOT_NOW` resolves without it and retries in the
   * background. Sends nothing before {@link start}.
   *
   * @throws {AppError} every other error of the first try, such as `ERR_APP_OUTBOX`.
   */
  static async open(options: OutboundOptions): Promise<Outbound> {
    const { settings, log, clock = systemClock } = options;
    const opener = await RetryingOpener.open({
      open: () => openOutbox(settings, { notify: true }),
      isTemporary: (error) => error instanceof AppError && error.code === "ERR_APP_OUTBOX_NOT_NOW",
      onFailure: (error) =>
        log.error(
          { reason: messageOf(error) },
          "outbox not opened; mail for other domains gets 451 until it opens",
        ),
      onOpened: () => {
        log.info("outbox opened; mail is sent");
        if (outbound.#isStarted) outbound.start();
      },
      clock,
    });
    const outbound = new Outbound(options, clock, opener);
    return outbound;
  }

  private constructor(options: OutboundOptions, clock: Clock, opener: RetryingOpener<Outbox>) {
    this.#options = options;
    this.#clock = clock;
    this.#opener = opener;
    this.#count = createOutboxMetrics(options.registry, {
      stats: () => this.stats(),
      inFlight: () => this.inFlight(),
    });
  }

  /** The outbox; `undefined` until a try to open it has succeeded. */
  get outbox(): Outbox | undefined {
    return this.#opener.opened;
  }

  /** The number of deliveries that this process is sending. */
  inFlight(): number {
    return this.#worker?.stats().inFlight ?? 0;
  }

  /** Counts of the store; `undefined` while the store is not open or does not answer. */
  async stats(): Promise<StoreStats | undefined> {
    return this.outbox?.stats().catch(() => undefined);
  }

  /** Why the outbox cannot take mail, for `/readyz`; `undefined` when it can. */
  async notReady(): Promise<string | undefined> {
    if (this.outbox === undefined) return `the outbox cannot be used: ${this.#opener.reason}`;
    try {
      await this.outbox.store.checkVersion();
      return undefined;
    } catch (error) {
      const isForeign = error instanceof OutboxError && error.code === "ERR_OUTBOX_SCHEMA_VERSION";
      const state = isForeign ? "cannot be used any more" : "does not answer";
      return `the outbox ${state}: ${errorFields(error).error}`;
    }
  }

  /** Begins to send: at once if the outbox is open, else when it opens. */
  start(): void {
    this.#isStarted = true;
    const { settings, log, senders, exceptRoutes = [] } = this.#options;
    const { outbox } = this;
    const isStopped = this.#stopped !== undefined;
    if (outbox === undefined || this.#worker !== undefined || isStopped) return;
    const { store } = outbox;
    const hooks: OutboxHooks = {
      onDeadLetter: (dead) => log.warn(dead, "dead letter; see postbag outbox show"),
    };
    this.#worker = new Worker({
      store,
      senderOf: senders.senderOf,
      ...workerSettings(settings),
      exceptRoutes,
      notify: wantedBy(hooks),
      onEvent: (event) => this.#report(event),
    });
    this.#worker.start();
    const onError = (error: unknown) =>
      log.warn(errorFields(error), "hook dispatch failed; will be retried");
    this.#dispatcher = new EventDispatcher({ store, hooks, onError });
    this.#dispatcher.start();
    this.#purge(outbox);
  }

  /**
   * Begins to stop: the worker claims no more mail and has `timeoutMs` for the sends in progress.
   * Returns at once; the outbox stays open and accepts mail until {@link close}. Idempotent.
   */
  stop(timeoutMs: number): void {
    if (this.#stopped !== undefined) return;
    this.#clock.clearTimeout(this.#purgeTimer);
    const drainMs = Math.max(0, timeoutMs - releaseMs);
    this.#stopped = Promise.all([
      this.#opener.stop(),
      this.#worker?.stop({ drainMs }),
      this.#dispatcher?.stop({ drainMs }),
    ]);
  }

  /**
   * Stops, waits at most `timeoutMs` for the sends in progress, and closes the store. Idempotent.
   *
   * @returns The number of deliveries whose outcome was unknown at the time limit. Another worker
   *   sends them when their lease has expired.
   */
  async close({ timeoutMs }: { readonly timeoutMs: number }): Promise<number> {
    this.stop(timeoutMs);
    await this.#opener.stop();
    const stopped = Promise.resolve(this.#stopped).then(() => true);
    const isInTime = await within(stopped, timeoutMs, false, systemClock);
    const left = this.inFlight();
    await this.#options.senders[Symbol.asyncDispose]();
    // A send that is unfinished at the time limit still uses the store; the process ends soon.
    if (isInTime) await this.outbox?.close();
    return left;
  }

  #report(event: WorkerEvent): void {
    const { level, message, fields } = workerLogLine(event);
    const { err, ...facts } = fields;
    this.#options.log[level]({ ...facts, ...(err !== undefined && errorFields(err)) }, message);
    this.#count(event);
  }

  /** Removes mail that ended long ago (defaults of `outbox.purge`), now and again in an hour. */
  #purge(outbox: Outbox): void {
    const isStopped = () => this.#stopped !== undefined;
    const onError = (error: unknown) => {
      if (isStopped()) return;
      this.#options.log.warn(errorFields(error), "outbox purge failed; it is retried in an hour");
    };
    const again = () => {
      if (isStopped()) return;
      this.#purgeTimer = this.#clock.setTimeout(() => this.#purge(outbox), purgeEveryMs);
    };
    outbox.purge().catch(onError).finally(again);
  }
}

function workerSettings(settings: Settings) {
  const { concurrency, leaseMs, retry, maxAttempts, outbound, routeConnections } = settings;
  // With a relay the worker hands all its deliveries to the relay client, which limits connections
  // itself: a connection takes the next mail while the last outcome becomes durable. With direct
  // delivery a domain gets as many deliveries at a time as connections.
  const routeConcurrency = outbound === "direct" ? (routeConnections ?? 3) : concurrency;
  return {
    concurrency,
    routeConcurrency: Math.min(concurrency, routeConcurrency),
    leaseMs,
    retry: retry === "mta" ? mtaRetry : referenceRetry,
    maxAttempts,
  };
}
