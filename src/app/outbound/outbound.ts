/**
 * Mail out: the outbox, the worker that sends what is due, the hooks that hear of ends, and the broom
 * that removes what is old.
 *
 * A store that cannot be opened now keeps nobody from receiving mail: the server runs without it, puts
 * mail for other domains off, says why, and tries again until it can.
 */
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
import { type Clock, systemClock, type TimerHandle } from "../../system/index.ts";
import { AppError, why } from "../errors.ts";
import type { Logger } from "../observe/log.ts";
import type { Settings } from "../settings/table.ts";
import { openOutbox } from "./open-outbox.ts";
import type { Senders } from "./senders.ts";

export interface MailOutOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly senders: Senders;
  /** Routes that another process has the mailboxes of. */
  readonly exceptRoutes?: readonly string[];
  /** For pauses. @defaultValue the machine's clock */
  readonly clock?: Clock;
}

const reopenMs = 5_000;
const sweepMs = 60 * 60 * 1_000;
/** What is kept back of the time to stop, for giving back what was not sent. */
const givingBackMs = 1_000;

export class MailOut {
  readonly #options: MailOutOptions;
  readonly #clock: Clock;
  #outbox: Outbox | undefined;
  #obstacle: string | undefined;
  #worker: Worker | undefined;
  #dispatcher: EventDispatcher | undefined;
  #opening: Promise<void> | undefined;
  #stopped: Promise<unknown> | undefined;
  #timer: TimerHandle;
  #isStarted = false;
  #isStopped = false;
  #onWorkerEvent: (event: WorkerEvent) => void = () => {};

  /**
   * Opens the outbox, or goes on trying.
   *
   * @throws {AppError} what does not pass by itself.
   */
  static async open(options: MailOutOptions): Promise<MailOut> {
    const mailOut = new MailOut(options);
    await mailOut.#open();
    return mailOut;
  }

  private constructor(options: MailOutOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** The outbox, as soon as it can be used. */
  get outbox(): Outbox | undefined {
    return this.#outbox;
  }

  /** Has somebody told what the worker does, beside the log. */
  set onWorkerEvent(listener: (event: WorkerEvent) => void) {
    this.#onWorkerEvent = listener;
  }

  /** Deliveries being sent. */
  inFlight(): number {
    return this.#worker?.stats().inFlight ?? 0;
  }

  /** What the store holds; `undefined` while it does not answer. */
  async stats(): Promise<StoreStats | undefined> {
    return this.#outbox?.stats().catch(() => undefined);
  }

  /** Why mail cannot be taken into the outbox; `undefined` when it can. */
  async obstacle(): Promise<string | undefined> {
    if (this.#outbox === undefined) return `the outbox cannot be used: ${this.#obstacle}`;
    try {
      await this.#outbox.store.checkVersion();
      return undefined;
    } catch (error) {
      const isForeign = error instanceof OutboxError && error.code === "ERR_OUTBOX_SCHEMA_VERSION";
      const what = isForeign ? "cannot be used any more" : "does not answer";
      return `the outbox ${what}: ${why(error).error}`;
    }
  }

  /** Begins to send, at once or as soon as there is an outbox. */
  start(): void {
    this.#isStarted = true;
    const { settings, log, senders, exceptRoutes = [] } = this.#options;
    const outbox = this.#outbox;
    if (outbox === undefined || this.#worker !== undefined || this.#isStopped) return;
    const { store } = outbox;
    const hooks: OutboxHooks = {
      onDeadLetter: (letter) => log.warn(letter, "dead letter"),
    };
    this.#worker = new Worker({
      store,
      senderOf: senders.senderOf,
      ...worked(settings),
      exceptRoutes,
      notify: wantedBy(hooks),
      onEvent: (event) => this.#tell(event),
    });
    this.#worker.start();
    const onError = (error: unknown) =>
      log.warn(why(error), "hook dispatch failed; will be retried");
    this.#dispatcher = new EventDispatcher({ store, hooks, onError });
    this.#dispatcher.start();
    this.#sweep(outbox);
  }

  /** Takes nothing new up, and ends what is being sent, within the time; mail is still taken in. */
  stop(timeoutMs: number): void {
    if (this.#stopped !== undefined) return;
    this.#clock.clearTimeout(this.#timer);
    this.#isStopped = true;
    const drainMs = Math.max(0, timeoutMs - givingBackMs);
    this.#stopped = Promise.all([
      this.#worker?.stop({ drainMs }),
      this.#dispatcher?.stop({ drainMs }),
    ]);
  }

  /**
   * Stops, if it did not yet, and closes the store. Idempotent.
   *
   * @returns Deliveries whose outcome was open when the time was up; another worker will take them up.
   */
  async close({ timeoutMs }: { readonly timeoutMs: number }): Promise<number> {
    this.stop(timeoutMs);
    await this.#opening;
    const inTime = await within(Promise.resolve(this.#stopped), timeoutMs);
    const left = this.inFlight();
    await this.#options.senders[Symbol.asyncDispose]();
    // With a delivery still open its store stays open as well: the process is about to end.
    if (inTime) await this.#outbox?.close();
    return left;
  }

  async #open(): Promise<void> {
    const { settings, log } = this.#options;
    try {
      this.#outbox = await openOutbox(settings, { notify: true });
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "ERR_APP_OUTBOX_NOT_NOW") throw error;
      if (error.message !== this.#obstacle) {
        log.error({ reason: error.message }, "mail out waits until the outbox can be used");
      }
      this.#obstacle = error.message;
      if (!this.#isStopped) this.#openLater();
    }
  }

  #openLater(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#opening = this.#open().then(
        () => {
          if (this.#outbox === undefined) return;
          this.#options.log.info("the outbox can be used, mail goes out");
          if (this.#isStarted) this.start();
        },
        (error: unknown) => {
          this.#obstacle = why(error).error;
          this.#options.log.error(why(error), "the outbox cannot be used");
        },
      );
    }, reopenMs);
  }

  #tell(event: WorkerEvent): void {
    const { level, message, fields } = workerLogLine(event);
    const { err, ...facts } = fields;
    this.#options.log[level]({ ...facts, ...(err !== undefined && why(err)) }, message);
    this.#onWorkerEvent(event);
  }

  /** Removes now, and every hour, what has been kept long enough. */
  #sweep(outbox: Outbox): void {
    const onError = (error: unknown) => {
      if (!this.#isStopped) this.#options.log.warn(why(error), "the outbox could not be purged");
    };
    const again = () => {
      if (!this.#isStopped)
        this.#timer = this.#clock.setTimeout(() => this.#sweep(outbox), sweepMs);
    };
    outbox.purge().catch(onError).finally(again);
  }
}

function worked(settings: Settings) {
  const { concurrency, leaseMs, retry, maxAttempts, outbound, routeConnections } = settings;
  // A relay's connections are counted where they are opened: mail beyond them waits there, so that none
  // idles while an outcome is made durable. A domain is asked for no more than it is given connections.
  const ofOneRoute = outbound === "direct" ? (routeConnections ?? 3) : concurrency;
  return {
    concurrency,
    routeConcurrency: Math.min(concurrency, ofOneRoute),
    leaseMs,
    retry: retry === "mta" ? mtaRetry : referenceRetry,
    ...(maxAttempts !== undefined && { maxAttempts }),
  };
}

/** Waits, but not longer than the time given; tells whether it was done in time. */
async function within(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = systemClock.setTimeout(() => resolve(false), limitMs);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    systemClock.clearTimeout(timer);
  }
}
