/**
 * An outbox worker on a real SQLite store and a simulated clock: time moves only when no call of
 * the store is in progress. A test can make calls of the store fail, before or after their work.
 */
import assert from "node:assert/strict";
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
import { atEnd, temporaryDirectory } from "./temporary.ts";

export const hourMs = 3_600_000;

/** A promise that never settles. */
export const never = new Promise<never>(() => {});

type CallName = keyof OutboxStore;

interface Failure {
  readonly when: "before" | "after";
  left: number;
}

/** A store whose calls are counted, and fail where a test says so. */
class WatchedStore {
  readonly store: OutboxStore;
  readonly #failures = new Map<CallName, Failure>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #counts = new Map<CallName, number>();
  /** Called before each call of the store is made. */
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

  /**
   * Makes the next `times` calls of this name fail: `before` their work, or `after`, when the work
   * is done and only the answer is lost.
   */
  fail(name: CallName, times = Number.POSITIVE_INFINITY, when: Failure["when"] = "before"): void {
    this.#failures.set(name, { when, left: times });
  }

  /** Makes every call succeed again. */
  mend(): void {
    this.#failures.clear();
  }

  /** Number of calls of this name so far, failed ones included. */
  count(name: CallName): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Waits until no call is in progress and every promise reaction has run. */
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
    const failure = this.#failures.get(name);
    const fails = failure !== undefined && failure.left > 0;
    if (fails) failure.left -= 1;
    if (fails && failure.when === "before") throw new Error(`${name} failed`);
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

/** A sender that asks for its final dot (`beforeCommit`) and then delivers to all recipients. */
export const properSender: Deliver = async ({ recipients }, _, { beforeCommit }) => {
  await beforeCommit?.();
  return recipients.map(() => ok);
};

let lastId = 0;

/** A complete message to these recipients, over the route `relay`. */
export function mail(recipients: readonly string[], more: Partial<NewMessage> = {}): NewMessage {
  lastId += 1;
  return {
    id: `01900000-0000-7000-8000-${String(lastId).padStart(12, "0")}`,
    reversePath: "a@here.example",
    bytes: Buffer.from(`Message-ID: <${lastId}@here.example>\r\n\r\nhello\r\n`),
    messageIdHeader: `<${lastId}@here.example>`,
    doubt: "resend",
    lane: "normal",
    expireAfterMs: 5 * 24 * hourMs,
    deliveries: [byRoute("relay", ...recipients)],
    ...more,
  };
}

export function byRoute(route: string, ...recipients: readonly string[]) {
  return { route, recipients: recipients.map((address) => ({ address, kind: "to" as const })) };
}

export type WorkerHarness = Awaited<ReturnType<typeof workerHarness>>;

/** Makes a store and a worker on the store; the test starts the worker. */
export async function workerHarness(
  t: TestContext,
  send: Deliver,
  options: Partial<WorkerOptions> = {},
) {
  const clock = new SimClock();
  const file = join(temporaryDirectory(t, "worker"), "outbox.db");
  const store = await openSqliteStore({ file, clock });
  const watched = new WatchedStore(store);
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
  atEnd(t, () => store.close());

  /** Fires timer after timer until the condition is met. */
  async function until(isMet: () => boolean): Promise<void> {
    for (let fired = 0; fired < 5_000; fired += 1) {
      await watched.quiet();
      if (isMet()) return;
      assert.ok(clock.fireNextTimer(), "no timer is left, and the condition is not met");
    }
    assert.fail("5,000 timers have fired, and the condition is not met");
  }

  /** Fires timer after timer until the promise settles. */
  async function settled<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const done = () => {
      isSettled = true;
    };
    promise.then(done, done);
    await until(() => isSettled);
    return promise;
  }

  /** Runs `work` with a second connection to the store's file that waits for no lock. */
  async function otherConnection(work: (database: DatabaseSync) => void): Promise<void> {
    using database = new DatabaseSync(file, { timeout: 0 });
    work(database);
  }

  /** Stores a message, not counted by `watched`; resolves with the row key of its delivery. */
  async function deliveryKey(message: NewMessage): Promise<number> {
    await store.enqueue([message]);
    using database = new DatabaseSync(file);
    const row = database.prepare("select max(id) as id from outbox_delivery").get();
    return Number(row?.id);
  }

  return {
    store,
    watched,
    clock,
    worker,
    make,
    events,
    kinds: () => events.map(({ kind }) => kind),
    stateOf: async (id: string) => (await store.get(id))?.deliveries[0],
    until,
    settled,
    otherConnection,
    deliveryKey,
  };
}
