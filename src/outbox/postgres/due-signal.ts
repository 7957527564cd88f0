/**
 * Tells who waits that something may have become due, and in which lane: at once in this process, and
 * if wanted in others by NOTIFY, which is asked for after the commit and at most every 100 ms, because
 * NOTIFY in the transaction that enqueues would let all commits queue behind one lock of the server.
 *
 * It may lose a signal, as when the connection breaks; who waits polls all the same.
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
  readonly #listeners = new Set<DueListener>();
  readonly #channel: string;
  /** Tells our own notifications from those of others. */
  readonly #self = randomUUID();
  readonly #stop = Promise.withResolvers<void>();
  #stopped = false;
  #listening: Promise<void> | undefined;
  #notifying: Promise<unknown> = Promise.resolve();
  #quiet: TimerHandle;
  readonly #afterCommit: AfterCommit;
  /** Lanes that others are to be told of; `undefined` stands for any. */
  #untold: Set<Lane | undefined> = new Set();

  constructor(options: DueSignalOptions) {
    this.#options = options;
    this.#channel = `postbag_due_${options.schema}`.slice(0, 63);
    this.#afterCommit = new AfterCommit(options.clock, (mail) => this.tell(mail));
  }

  onDue(listener: DueListener): () => void {
    this.#listeners.add(listener);
    if (this.#options.notify) this.#listening ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  /** Tells everybody of the lanes of new messages, or that it may be any; call it after the commit. */
  tell(messages?: readonly Pick<NewMessage, "lane">[]): void {
    const lanes = messages ? new Set(messages.map(({ lane }) => lane)) : [undefined];
    for (const lane of lanes) {
      this.#ring(lane);
      this.#untold.add(lane);
    }
    if (this.#options.notify && !this.#stopped && this.#quiet === undefined) this.#notify();
  }

  /** Tells of messages that lie in somebody's transaction, when that may have been committed. */
  tellSoon(messages: readonly NewMessage[]): void {
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

  #ring(lane?: Lane): void {
    for (const listener of this.#listeners) listener(lane);
  }

  /** Sends who tells and the lanes, or no lane for any of them. */
  #notify(): void {
    const { db, clock } = this.#options;
    const lanes = this.#untold.has(undefined) ? [] : [...this.#untold];
    this.#untold.clear();
    const payload = [this.#self, ...lanes].join(" ");
    const sent = db.write("select pg_notify($1, $2)", [this.#channel, payload]);
    this.#notifying = sent.catch(() => {});
    this.#quiet = clock.setTimeout(() => {
      this.#quiet = undefined;
      if (this.#untold.size > 0 && !this.#stopped) this.#notify();
    }, NOTIFY_EVERY_MS);
  }

  #heard(payload = ""): void {
    const [who, ...names] = payload.split(" ");
    if (who === this.#self) return;
    if (names.length === 0) this.#ring();
    // A lane that only a newer program knows is nothing to look into.
    for (const lane of laneNames.filter((name) => names.includes(name))) this.#ring(lane);
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
      if (channel === this.#channel) this.#heard(payload);
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
