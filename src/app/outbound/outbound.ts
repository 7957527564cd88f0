/**
 * Outbound mail: the outbox, the worker that sends due mail, the hooks that receive its events, and
 * the hourly purge of old mail.
 *
 * An outbox that cannot be opened does not stop the server from receiving mail: mail for other
 * domains gets 451, and opening is retried until it succeeds.
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
  /** Receives the metrics of the outbox. */
  readonly registry: Registry;
  /** Routes whose mailboxes another process has. @defaultValue none */
  readonly exceptRoutes?: readonly string[] | undefined;
  /** For pauses. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

const purgeEveryMs = 60 * 60 * 1_000;
/** The part of the time to stop that is reserved for releasing unsent mail. */
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
   * Opens the outbox, or goes on trying in the background.
   *
   * @throws {AppError} `ERR_APP_OUTBOX` and all others that do not pass by themselves.
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

  /** The outbox; `undefined` until it can be opened. */
  get outbox(): Outbox | undefined {
    return this.#opener.opened;
  }

  /** Deliveries being sent. */
  inFlight(): number {
    return this.#worker?.stats().inFlight ?? 0;
  }

  /** Counts of the store; `undefined` while it does not answer. */
  async stats(): Promise<StoreStats | undefined> {
    return this.outbox?.stats().catch(() => undefined);
  }

  /** Why the outbox cannot take mail; `undefined` when it can. */
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

  /** Begins to send, at once or as soon as the outbox is open. */
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
   * Claims no more mail and ends the sends in progress, within the time; mail is still accepted.
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
   * Stops, unless it has stopped, and closes the store. Idempotent.
   *
   * @returns Deliveries whose outcome was open when the time was up; another worker takes them up.
   */
  async close({ timeoutMs }: { readonly timeoutMs: number }): Promise<number> {
    this.stop(timeoutMs);
    await this.#opener.stop();
    const stopped = Promise.resolve(this.#stopped).then(() => true);
    const isInTime = await within(stopped, timeoutMs, false, systemClock);
    const left = this.inFlight();
    await this.#options.senders[Symbol.asyncDispose]();
    // With a delivery still open its store stays open as well: the process is about to end.
    if (isInTime) await this.outbox?.close();
    return left;
  }

  #report(event: WorkerEvent): void {
    const { level, message, fields } = workerLogLine(event);
    const { err, ...facts } = fields;
    this.#options.log[level]({ ...facts, ...(err !== undefined && errorFields(err)) }, message);
    this.#count(event);
  }

  /** Removes mail that ended long ago, now and every hour. */
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
  // The relay client counts its own connections, and mail beyond them waits there, so that no
  // connection idles while an outcome becomes durable. A domain gets as many deliveries at a time
  // as connections.
  const routeConcurrency = outbound === "direct" ? (routeConnections ?? 3) : concurrency;
  return {
    concurrency,
    routeConcurrency: Math.min(concurrency, routeConcurrency),
    leaseMs,
    retry: retry === "mta" ? mtaRetry : referenceRetry,
    maxAttempts,
  };
}
