/**
 * Signals that deliveries of a lane (a queue of its own for one kind of delivery) may be due: at
 * once to listeners of this process, and optionally to other processes by NOTIFY. NOTIFY runs after
 * the commit of an enqueue and at most every 100 ms: inside the transaction it would queue all
 * commits behind one lock of the server.
 *
 * A signal may be lost, for example with its connection; listeners must also poll.
 *
 * @see https://www.postgresql.org/docs/current/sql-notify.html
 */
import { randomUUID } from "node:crypto";
import type { Clock, TimerHandle } from "../../system/index.ts";
import { AfterCommit } from "../model/after-commit.ts";
import type { Lane, NewMessage } from "../model/rows.ts";
import type { DueListener } from "../model/store.ts";
import { laneNames } from "../model/stored-rows.ts";
import type { Database, PostgresClient } from "./database.ts";

const notifyEveryMs = 100;
const reconnectAfterMs = 1000;

interface DueSignalOptions {
  readonly db: Database;
  readonly schema: string;
  readonly clock: Clock;
  /** Whether to notify other processes and to listen for their notifications. */
  readonly notify: boolean;
}

export class DueSignal {
  readonly #options: DueSignalOptions;
  readonly #listeners = new Set<DueListener>();
  readonly #channel: string;
  /** The sender id in our notifications, by which we recognise them. */
  readonly #self = randomUUID();
  readonly #stop = Promise.withResolvers<void>();
  #stopped = false;
  #listening: Promise<void> | undefined;
  #notifying: Promise<unknown> = Promise.resolve();
  #quiet: TimerHandle;
  readonly #afterCommit: AfterCommit;
  /** Lanes for the next notification; `undefined` stands for any lane. */
  #pending: Set<Lane | undefined> = new Set();

  constructor(options: DueSignalOptions) {
    this.#options = options;
    this.#channel = `postbag_due_${options.schema}`.slice(0, 63);
    this.#afterCommit = new AfterCommit(options.clock, (mail) => this.announce(mail));
  }

  onDue(listener: DueListener): () => void {
    this.#listeners.add(listener);
    if (this.#options.notify) this.#listening ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  /**
   * Signals the lanes of new messages, or without messages any lane; to be called after a commit.
   */
  announce(messages?: readonly Pick<NewMessage, "lane">[]): void {
    const lanes = messages ? new Set(messages.map(({ lane }) => lane)) : [undefined];
    for (const lane of lanes) {
      this.#callListeners(lane);
      this.#pending.add(lane);
    }
    if (this.#options.notify && !this.#stopped && this.#quiet === undefined) this.#notify();
  }

  /** Signals messages in a transaction of the application, when that may have committed. */
  announceSoon(messages: readonly NewMessage[]): void {
    if (this.#stopped || (this.#listeners.size === 0 && !this.#options.notify)) return;
    this.#afterCommit.expect(messages);
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#afterCommit.close();
    this.#options.clock.clearTimeout(this.#quiet);
    this.#stop.resolve();
    await this.#listening;
    await this.#notifying;
  }

  #callListeners(lane?: Lane): void {
    for (const listener of this.#listeners) listener(lane);
  }

  /** Notification payload: sender id and lanes; no lanes means all. */
  #notify(): void {
    const { db, clock } = this.#options;
    const lanes = this.#pending.has(undefined) ? [] : [...this.#pending];
    this.#pending.clear();
    const payload = [this.#self, ...lanes].join(" ");
    const sent = db.write("select pg_notify($1, $2)", [this.#channel, payload]);
    this.#notifying = sent.catch(() => {});
    this.#quiet = clock.setTimeout(() => {
      this.#quiet = undefined;
      if (this.#pending.size > 0 && !this.#stopped) this.#notify();
    }, notifyEveryMs);
  }

  #receive(payload = ""): void {
    const [sender, ...names] = payload.split(" ");
    if (sender === this.#self) return;
    if (names.length === 0) this.#callListeners();
    // Ignores lanes that only a newer program knows.
    for (const lane of laneNames.filter((name) => names.includes(name))) this.#callListeners(lane);
  }

  async #listen(): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#listenOnce(await this.#options.db.connect());
      } catch {
        await this.#pause();
      }
      this.#callListeners(); // A notification may have been missed while no connection listened.
    }
  }

  /** Listens on this connection until it breaks or the store closes. */
  async #listenOnce(client: PostgresClient): Promise<void> {
    const lost = Promise.withResolvers<void>();
    client.on("error", lost.reject);
    client.on("notification", ({ channel, payload }) => {
      if (channel === this.#channel) this.#receive(payload);
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
    const timer = clock.setTimeout(over.resolve, reconnectAfterMs);
    await Promise.race([over.promise, this.#stop.promise]);
    clock.clearTimeout(timer);
  }
}
