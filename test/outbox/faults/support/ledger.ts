/**
 * The ledger: what was acknowledged to the sender, what the store says became of it, and what the server
 * at the other end took, compared with each other.
 *
 * No loss: all that was acknowledged is there and came to an end. No invention: every copy at the server
 * is one of ours, octet for octet, and has an attempt of its own on record. A second copy exists only
 * where the record says that a reply was lost, and never of a message that is to be held then.
 */
import assert from "node:assert/strict";
import {
  type AttemptRow,
  type DeliveryRow,
  type NewMessage,
  type OutboxStore,
  uuidv7,
} from "../../../../src/outbox/index.ts";
import type { SmtpSink } from "../../../support/smtp-sink.ts";

let made = 0;

/** A complete message to two recipients, unlike any other. */
export function letter(changes: Partial<NewMessage> = {}): NewMessage {
  made += 1;
  const messageIdHeader = `<${made}.${process.pid}@here.example>`;
  const body = `Letter ${made}\r\n.a line with a dot\r\n${"words ".repeat(400)}\r\n`;
  return {
    id: uuidv7(Date.now()),
    reversePath: "a@here.example",
    bytes: Buffer.from(`Message-ID: ${messageIdHeader}\r\nSubject: ${made}\r\n\r\n${body}`),
    messageIdHeader,
    doubt: "resend",
    lane: "normal",
    expireAfterMs: 5 * 24 * 3_600_000,
    deliveries: [
      {
        route: "relay",
        recipients: [
          { address: `b${made}@x.example`, kind: "to" },
          { address: `c${made}@x.example`, kind: "bcc" },
        ],
      },
    ],
    ...changes,
  };
}

export interface LedgerFound {
  /** Copies beyond the first, over all recipients. */
  readonly duplicates: number;
  readonly inDoubt: number;
  readonly dead: number;
  readonly attempts: ReadonlyMap<string, readonly AttemptRow[]>;
}

export class Ledger {
  readonly #store: OutboxStore;
  readonly #sink: SmtpSink;
  readonly #acknowledged: NewMessage[] = [];

  constructor(store: OutboxStore, sink: SmtpSink) {
    this.#store = store;
    this.#sink = sink;
  }

  async enqueue(...messages: NewMessage[]): Promise<void> {
    await this.#store.enqueue(messages);
    this.#acknowledged.push(...messages);
  }

  /** Whether everything came to an end. */
  async isOver(): Promise<boolean> {
    return (await this.#store.stats()).lanes.every(({ queued }) => queued === 0);
  }

  /** Compares; throws where the books do not agree. */
  async check(): Promise<LedgerFound> {
    const attempts = new Map<string, readonly AttemptRow[]>();
    const found = { duplicates: 0, inDoubt: 0, dead: 0 };
    const ends = await this.#endEvents();
    for (const message of this.#acknowledged) {
      const row = await this.#store.get(message.id);
      assert.ok(row, `${message.messageIdHeader} was acknowledged and is gone`);
      this.#checkCopies(message);
      for (const delivery of row.deliveries) {
        const tried = await this.#store.attempts(delivery.id);
        attempts.set(delivery.id, tried);
        checkAttempts(delivery, tried);
        found.duplicates += this.#checkRecipients(message, delivery, tried);
        if (delivery.state === "in_doubt") found.inDoubt += 1;
        if (delivery.state === "dead") found.dead += 1;
        const isHeld = delivery.state === "in_doubt";
        assert.equal(ends.get(delivery.id) ?? 0, isHeld ? 0 : 1, `ends told of ${delivery.id}`);
      }
    }
    return { ...found, attempts };
  }

  #checkCopies(message: NewMessage): void {
    const bytes = Buffer.from(message.bytes).toString("latin1");
    const header = `Message-ID: ${message.messageIdHeader}`;
    for (const { data } of this.#sink.mails) {
      if (data.startsWith(header)) assert.equal(data, bytes, "a copy differs");
    }
  }

  #checkRecipients(message: NewMessage, delivery: DeliveryRow, tried: readonly AttemptRow[]) {
    const sent = tried.filter(({ outcome = "in_doubt" }) =>
      ["delivered", "partial", "in_doubt"].includes(outcome),
    );
    let duplicates = 0;
    for (const { address, status } of delivery.recipients) {
      const copies = this.#sink.mails.filter(
        ({ accepted, recipients, data }) =>
          accepted &&
          recipients.includes(address) &&
          data.startsWith(`Message-ID: ${message.messageIdHeader}`),
      ).length;
      const who = `${address}: ${status}, ${copies} copies, attempts ${JSON.stringify(tried)}`;
      assert.ok(copies <= sent.length, `a copy without an attempt; ${who}`);
      if (status === "delivered") assert.ok(copies > 0, `delivered nowhere; ${who}`);
      if (message.doubt === "hold") assert.ok(copies <= 1, `held, and sent twice; ${who}`);
      if (status === "pending" || status === "deferred") {
        assert.equal(delivery.state, "in_doubt", `undecided at the end; ${who}`);
      }
      duplicates += Math.max(0, copies - 1);
    }
    return duplicates;
  }

  /** How many ends were told of each delivery. */
  async #endEvents(): Promise<Map<string, number>> {
    const ends = new Map<string, number>();
    for (;;) {
      const events = await this.#store.claimEvents({ limit: 500, leaseMs: 60_000 });
      if (events.length === 0) return ends;
      for (const { type, deliveryId = "" } of events) {
        if (!/^delivery\.(done|dead|cancelled)$/.test(type)) continue;
        ends.set(deliveryId, (ends.get(deliveryId) ?? 0) + 1);
      }
      await this.#store.acknowledgeEvents(events.map(({ seq }) => seq));
    }
  }
}

function checkAttempts(
  { id, state, cycleAttempts }: DeliveryRow,
  tried: readonly AttemptRow[],
): void {
  assert.deepEqual(
    tried.map(({ attemptNo }) => attemptNo),
    tried.map((_, index) => index + 1),
    `gaps in the attempts of ${id}`,
  );
  for (const { attemptNo, cycleAttempt, outcome } of tried) {
    assert.ok(cycleAttempt <= attemptNo);
    // Of what is held the attempt stays open until somebody resolves the doubt.
    assert.ok(outcome ?? state === "in_doubt", `attempt ${attemptNo} of ${id} is open`);
  }
  assert.ok(cycleAttempts <= tried.length, `${id} spent more than it tried`);
}
