/**
 * Tells who waits that something may have become due: at once in this process, and if wanted in others
 * by NOTIFY, which is asked for after the commit and at most every 100 ms, because NOTIFY in the
 * transaction that enqueues would let all commits queue behind one lock of the server.
 *
 * It may lose a signal, as when the connection breaks; who waits polls all the same.
 *
 * @see https://www.postgresql.org/docs/current/sql-notify.html
 */
import { randomUUID } from "node:crypto";
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Database, PostgresClient } from "./database.ts";

const NOTIFY_EVERY_MS = 100;
const LISTEN_AGAIN_MS = 1000;

export interface DueSignalOptions {
  readonly db: Database;
  readonly schema: string;
  readonly clock: Clock;
  /** Whether other processes are told, and listened to. */
  readonly notify: boolean;
}

export class DueSignal {
  readonly #options: DueSignalOptions;
  readonly #listeners = new Set<() => void>();
  readonly #channel: string;
  /** Tells our own notifications from those of others. */
  readonly #self = randomUUID();
  readonly #stop = Promise.withResolvers<void>();
  #stopped = false;
  #listening: Promise<void> | undefined;
  #notifying: Promise<unknown> = Promise.resolve();
  #quiet: TimerHandle;
  #toldWhileQuiet = false;

  constructor(options: DueSignalOptions) {
    this.#options = options;
    this.#channel = `postbag_due_${options.schema}`.slice(0, 63);
  }

  onDue(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#options.notify) this.#listening ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  /** Tells everybody; call it after the commit. */
  tell(): void {
    this.#ring();
    if (!this.#options.notify || this.#stopped) return;
    if (this.#quiet === undefined) this.#notify();
    else this.#toldWhileQuiet = true;
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#options.clock.clearTimeout(this.#quiet);
    this.#stop.resolve();
    await this.#listening;
    await this.#notifying;
  }

  #ring(): void {
    for (const listener of this.#listeners) listener();
  }

  #notify(): void {
    const { db, clock } = this.#options;
    const sent = db.write("select pg_notify($1, $2)", [this.#channel, this.#self]);
    this.#notifying = sent.catch(() => {});
    this.#quiet = clock.setTimeout(() => {
      this.#quiet = undefined;
      if (!this.#toldWhileQuiet || this.#stopped) return;
      this.#toldWhileQuiet = false;
      this.#notify();
    }, NOTIFY_EVERY_MS);
  }

  async #listen(): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#listenOnce(await this.#options.db.connect());
      } catch {
        await this.#pause();
      }
      this.#ring(); // Something may have been missed meanwhile.
    }
  }

  /** Listens on this connection until it breaks or the store closes. */
  async #listenOnce(client: PostgresClient): Promise<void> {
    const lost = Promise.withResolvers<void>();
    client.on("error", lost.reject);
    client.on("notification", ({ channel, payload }) => {
      if (channel === this.#channel && payload !== this.#self) this.#ring();
    });
    lost.promise.catch(() => {});
    try {
      const text = `listen "${this.#channel.replaceAll('"', '""')}"`;
      await client.query({ text, values: [], query_timeout: 10_000 });
      await Promise.race([this.#stop.promise, lost.promise]);
    } finally {
      client.release(true);
    }
  }

  async #pause(): Promise<void> {
    const { clock } = this.#options;
    const over = Promise.withResolvers<void>();
    const timer = clock.setTimeout(over.resolve, LISTEN_AGAIN_MS);
    await Promise.race([over.promise, this.#stop.promise]);
    clock.clearTimeout(timer);
  }
}
