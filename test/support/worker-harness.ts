/**
 * A worker on a real SQLite store, under a clock that stands still: time moves only when the store has
 * nothing to do. The store's calls can be made to fail, before they did anything or after.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestContext } from "node:test";
import type { Deliver, RecipientOutcome } from "../../src/mail/index.ts";
import {
  type NewMessage,
  type OutboxStore,
  openSqliteStore,
  Worker,
  type WorkerEvent,
  type WorkerOptions,
} from "../../src/outbox/index.ts";
import { reactions, SimClock } from "./sim-clock.ts";

type CallName = keyof OutboxStore;

interface Fault {
  readonly when: "before" | "after";
  left: number;
}

/** A store whose calls are counted, and fail when told to. */
export class WatchedStore {
  readonly store: OutboxStore;
  readonly #faults = new Map<CallName, Fault>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #counts = new Map<CallName, number>();
  /** Told of each call before it is made. */
  onCall: ((name: CallName, argument: unknown) => void) | undefined;

  constructor(inner: OutboxStore) {
    this.store = new Proxy(inner, {
      get: (target, name) => {
        const value = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        if (name === "onDue") return value.bind(target);
        return (...given: unknown[]) =>
          this.#track(this.#call(name as CallName, given, () => value.apply(target, given)));
      },
    });
  }

  /** Makes a call fail from now on: `before` nothing was done, `after` all was done and nobody knows. */
  fail(name: CallName, times = Number.POSITIVE_INFINITY, when: Fault["when"] = "before"): void {
    this.#faults.set(name, { when, left: times });
  }

  mend(): void {
    this.#faults.clear();
  }

  count(name: CallName): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Waits until no call is under way and nobody is about to make one. */
  async quiet(): Promise<void> {
    for (;;) {
      await reactions();
      if (this.#pending.size === 0) return;
      await Promise.race(this.#pending);
    }
  }

  async #call(name: CallName, [argument]: unknown[], make: () => unknown): Promise<unknown> {
    this.#counts.set(name, this.count(name) + 1);
    this.onCall?.(name, argument);
    const fault = this.#faults.get(name);
    const fails = fault !== undefined && fault.left > 0;
    if (fails) fault.left -= 1;
    if (fails && fault.when === "before") throw new Error(`${name} failed`);
    const answer = await make();
    if (fails) throw new Error(`the answer to ${name} was lost`);
    return answer;
  }

  #track(call: Promise<unknown>): Promise<unknown> {
    const settled = call.then(
      () => {},
      () => {},
    );
    this.#pending.add(settled);
    void settled.then(() => this.#pending.delete(settled));
    return call;
  }
}

export const ok: RecipientOutcome = {
  kind: "delivered",
  reply: { code: 250, enhanced: "2.0.0", text: "Taken", phase: "message" },
};

export function refusal(
  code: number,
  text: string,
  scope: "recipient" | "message" | "route" = "recipient",
): RecipientOutcome {
  const kind = code < 500 ? "deferred" : "failed";
  return { kind, scope, reply: { code, text, phase: "rcpt" } };
}

let lastId = 0;

/** A complete message to these recipients, by way of a relay. */
export function mail(recipients: readonly string[], more: Partial<NewMessage> = {}): NewMessage {
  lastId += 1;
  return {
    id: `01900000-0000-7000-8000-${String(lastId).padStart(12, "0")}`,
    reversePath: "a@here.example",
    bytes: Buffer.from(`Message-ID: <${lastId}@here.example>\r\n\r\nhello\r\n`),
    messageIdHeader: `<${lastId}@here.example>`,
    doubt: "resend",
    lane: "normal",
    expireAfterMs: 5 * 24 * 3_600_000,
    deliveries: [byRoute("relay", ...recipients)],
    ...more,
  };
}

export function byRoute(route: string, ...recipients: readonly string[]) {
  return { route, recipients: recipients.map((address) => ({ address, kind: "to" as const })) };
}

export async function workerLab(
  t: TestContext,
  send: Deliver,
  options: Partial<WorkerOptions> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), "postbag-worker-"));
  const clock = new SimClock();
  const file = join(folder, "outbox.db");
  const inner = await openSqliteStore({ file, clock });
  const watched = new WatchedStore(inner);
  const events: WorkerEvent[] = [];
  const make = (more: Partial<WorkerOptions> = {}) =>
    new Worker({
      store: watched.store,
      senderOf: () => send,
      onEvent: (event) => events.push(event),
      random: () => 0.5,
      clock,
      ...options,
      ...more,
    });
  const worker = make();
  t.after(async () => {
    await inner.close();
    rmSync(folder, { recursive: true });
  });

  /** Lets happen what is to happen, timer by timer, until it is so. */
  async function until(isSo: () => boolean): Promise<void> {
    for (let fired = 0; fired < 5_000; fired += 1) {
      await watched.quiet();
      if (isSo()) return;
      assert.ok(clock.fireNextTimer(), "nothing is left to happen");
    }
    assert.fail("it does not become so");
  }

  /** The same, until a promise settles. */
  async function settled<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const done = () => {
      isSettled = true;
    };
    promise.then(done, done);
    await until(() => isSettled);
    return promise;
  }

  /** Does something on a connection of its own, which waits for no lock. */
  async function otherConnection(work: (database: DatabaseSync) => void): Promise<void> {
    using database = new DatabaseSync(file, { timeout: 0 });
    work(database);
  }

  /** Stores a message and tells the row key of its delivery, without leaving a trace. */
  async function deliveryKey(message: NewMessage): Promise<number> {
    await inner.enqueue([message]);
    using database = new DatabaseSync(file);
    const row = database.prepare("select max(id) as id from outbox_delivery").get();
    return Number(row?.id);
  }

  const stateOf = async (id: string) => (await inner.get(id))?.deliveries[0];
  const kinds = () => events.map(({ kind }) => kind);
  const seen = { events, kinds, stateOf };
  return {
    ...seen,
    store: inner,
    watched,
    clock,
    worker,
    make,
    until,
    settled,
    otherConnection,
    deliveryKey,
  };
}
