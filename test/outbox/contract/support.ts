/** Shared by the parts of the contract: the store under test, messages, claims and completions. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type {
  Claim,
  ClaimedDelivery,
  ClaimRequest,
  Completion,
  KeptReply,
  NewDelivery,
  NewMessage,
  OutboxStore,
  TransactionHandle,
} from "../../../src/outbox/index.ts";

export interface StoreUnderTest {
  readonly store: OutboxStore;
  /** Opens a second store on the same database, as another process would. */
  another(): Promise<OutboxStore>;
  /** Moves the clock of all stores of this database; it stands still otherwise. */
  advance(ms: number): Promise<void> | void;
  /** Begins a transaction of the application, by each kind of handle that the store accepts. */
  readonly transactions: Readonly<Record<string, () => Promise<ApplicationTransaction>>>;
}

export interface ApplicationTransaction {
  readonly handle: TransactionHandle;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** Opens a store on an empty, migrated database and closes it after the test. */
export type OpenStore = (t: TestContext) => Promise<StoreUnderTest>;

/** The instant at which the clock of a store under test starts. */
export const startMs = Date.UTC(2026, 0, 2, 3, 4, 5);

export const minute = 60_000;
export const hour = 60 * minute;
export const day = 24 * hour;

let messages = 0;

/** A complete message with a new id. */
export function message(changes: Partial<NewMessage> = {}): NewMessage {
  messages += 1;
  const tail = messages.toString(16).padStart(12, "0");
  return {
    id: `01987654-3210-7000-8000-${tail}`,
    reversePath: "sender@example.org",
    bytes: Buffer.from(`Subject: ${messages}\r\n\r\nbody of ${messages}\r\n`),
    messageIdHeader: `<${messages}@example.org>`,
    doubt: "resend",
    lane: "normal",
    expireAfterMs: 5 * day,
    deliveries: [to("relay", "you@example.com")],
    ...changes,
  };
}

/** A delivery over this route to these addresses. */
export function to(route: string, ...addresses: string[]): NewDelivery {
  return { route, recipients: addresses.map((address) => ({ address, kind: "to" })) };
}

export const claimDefaults: ClaimRequest = {
  lane: "normal",
  limit: 100,
  leaseMs: minute,
  worker: "w1",
  inlineBytes: 64 * 1024,
  intents: true,
  routeRoom: 1000,
  putOffMs: 1000,
};

export function claim(store: OutboxStore, changes: Partial<ClaimRequest> = {}): Promise<Claim> {
  return store.claim({ ...claimDefaults, ...changes });
}

/** Claims and expects exactly one delivery. */
export async function claimOne(
  store: OutboxStore,
  changes: Partial<ClaimRequest> = {},
): Promise<ClaimedDelivery> {
  const { deliveries } = await claim(store, changes);
  assert.equal(deliveries.length, 1, `claimed ${deliveries.length} deliveries`);
  return deliveries[0] as ClaimedDelivery;
}

/** Stores one message and leases its one delivery. */
export async function leased(
  store: OutboxStore,
  changes: Partial<NewMessage> = {},
): Promise<ClaimedDelivery> {
  await store.enqueue([message(changes)]);
  return claimOne(store);
}

export async function intend(store: OutboxStore, lease: ClaimedDelivery): Promise<boolean> {
  const { delivery, token } = lease;
  const [written] = await store.intend([{ delivery, token, worker: "w1", elapsedMs: 5 }]);
  return written as boolean;
}

export const ok: KeptReply = { code: 250, enhanced: "2.0.0", text: "taken", phase: "message" };
export const busy: KeptReply = { code: 451, enhanced: "4.3.0", text: "later", phase: "message" };
export const gone: KeptReply = { code: 550, enhanced: "5.1.1", text: "unknown", phase: "rcpt" };

/** A completion that delivers to all recipients. */
export function sent(lease: ClaimedDelivery, changes: Partial<Completion> = {}): Completion {
  return {
    delivery: lease.delivery,
    token: lease.token,
    attempt: { worker: "w1", elapsedMs: 10, outcome: "delivered", spends: true, reply: ok },
    recipients: lease.recipients
      .filter(({ status }) => status !== "delivered")
      .map(({ ordinal }) => ({ ordinal, status: "delivered", reply: ok })),
    next: { kind: "done" },
    events: [{ type: "delivery.done", data: {}, notify: true }],
    ...changes,
  };
}

/** A completion that defers all recipients. */
export function deferred(
  lease: ClaimedDelivery,
  delayMs: number,
  changes: Partial<Completion> = {},
): Completion {
  return {
    delivery: lease.delivery,
    token: lease.token,
    attempt: { worker: "w1", elapsedMs: 10, outcome: "deferred", spends: true, reply: busy },
    recipients: lease.recipients.map(({ ordinal }) => ({
      ordinal,
      status: "deferred",
      reply: busy,
    })),
    next: { kind: "retry", delayMs },
    events: [],
    ...changes,
  };
}

/** A completion that refuses all recipients for good. */
export function refusedForGood(
  lease: ClaimedDelivery,
  changes: Partial<Completion> = {},
): Completion {
  return {
    delivery: lease.delivery,
    token: lease.token,
    attempt: { worker: "w1", elapsedMs: 10, outcome: "failed", spends: true, reply: gone },
    recipients: lease.recipients.map(({ ordinal }) => ({ ordinal, status: "failed", reply: gone })),
    next: { kind: "dead", reason: "permanent: 550 5.1.1 unknown" },
    events: [{ type: "delivery.dead", data: { reason: "x" }, notify: true }],
    ...changes,
  };
}

/** The first delivery of a message, as the store shows it. */
export async function shown(store: OutboxStore, id: string) {
  const found = await store.get(id);
  assert.ok(found, `${id} is missing`);
  const [delivery] = found.deliveries;
  assert.ok(delivery);
  return delivery;
}

/** The statuses of its recipients, in order. */
export async function statuses(store: OutboxStore, id: string): Promise<string[]> {
  return (await shown(store, id)).recipients.map(({ status }) => status);
}
