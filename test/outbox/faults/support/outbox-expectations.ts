/**
 * Compares the messages that were acknowledged at `enqueue`, the attempts in the store, and the
 * messages that the mail server got.
 *
 * No loss: every acknowledged message is in the store and has ended. No invention: every copy at
 * the server is one of ours, byte for byte, and has an attempt of its own in the store. A second
 * copy exists only where an attempt says that a reply was lost, and never of a message whose doubt
 * policy is `hold`. Without such a doubt a delivered recipient is not named to a server again.
 */
import assert from "node:assert/strict";
import {
  type AttemptRow,
  type CancelAnswer,
  type DeliveryRow,
  type NewMessage,
  OutboxError,
  type OutboxStore,
  uuidv7,
} from "../../../../src/outbox/index.ts";
import type { SmtpSink, SunkMail } from "../../../support/smtp-sink.ts";

let made = 0;

/** A complete message to two recipients, unlike any other. */
export function newMessage(changes: Partial<NewMessage> = {}): NewMessage {
  made += 1;
  const messageIdHeader = `<${made}.${process.pid}@here.example>`;
  const body = `Message ${made}\r\n.a line with a dot\r\n${"words ".repeat(400)}\r\n`;
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

/** Makes several; the policy of every second one is `hold`. */
export function newMessages(count: number): NewMessage[] {
  return Array.from({ length: count }, (_, at) =>
    newMessage({ doubt: at % 2 === 0 ? "hold" : "resend" }),
  );
}

interface OutboxFindings {
  /** Copies beyond the first, over all recipients. */
  readonly duplicates: number;
  readonly inDoubt: number;
  readonly dead: number;
  readonly cancelled: number;
  readonly attempts: ReadonlyMap<string, readonly AttemptRow[]>;
}

interface Cancel {
  readonly answer: CancelAnswer | undefined;
  /** Messages whose final dot had come to the server by then. */
  readonly dots: number;
}

export class OutboxExpectations {
  #store: OutboxStore;
  readonly #sink: SmtpSink;
  /** Workers made so far. */
  workers = 0;
  readonly #acknowledged: NewMessage[] = [];
  readonly #refused: NewMessage[] = [];
  /** `enqueue` failed in doubt: they may be in the store. */
  readonly #inDoubt: NewMessage[] = [];
  readonly #cancels = new Map<string, Cancel>();
  /** How the doubt about a message was resolved, by its id. */
  readonly #resolved = new Map<string, "sent" | "resend">();
  /** Events of an end, by the id of the delivery. */
  readonly #ends = new Map<string, number>();

  constructor(store: OutboxStore, sink: SmtpSink) {
    this.#store = store;
    this.#sink = sink;
  }

  get acknowledged(): number {
    return this.#acknowledged.length;
  }

  /** Goes on with a store that was opened anew. */
  useStore(store: OutboxStore): void {
    this.#store = store;
  }

  /** Enqueues and notes the answer; rejects as the store does. */
  async enqueue(...messages: NewMessage[]): Promise<void> {
    try {
      await this.#store.enqueue(messages);
      this.#acknowledged.push(...messages);
    } catch (error) {
      const isInDoubt = error instanceof OutboxError && error.code === "ERR_OUTBOX_IN_DOUBT";
      (isInDoubt ? this.#inDoubt : this.#refused).push(...messages);
      throw error;
    }
  }

  /** Notes messages that a transaction of an application stored. */
  acknowledge(...messages: NewMessage[]): void {
    this.#acknowledged.push(...messages);
  }

  /** Notes messages that must not be in the store, such as those of a rolled-back transaction. */
  refuse(...messages: NewMessage[]): void {
    this.#refused.push(...messages);
  }

  /** Cancels a message, and notes how many messages the server had when the answer came. */
  async cancel({ id }: NewMessage): Promise<CancelAnswer | undefined> {
    const [answer] = await this.#store.cancel(id, { notify: true });
    this.#cancels.set(id, { answer: answer?.answer, dots: this.#sink.mails.length });
    return answer?.answer;
  }

  /** Resolves every doubt, as a person would: by turns as `resend` and as `sent`. */
  async resolveDoubts(): Promise<void> {
    const { deliveries } = await this.#store.list({ state: "in_doubt", limit: 1_000 });
    for (const [at, { id, messageId }] of deliveries.entries()) {
      const truth = at % 2 === 0 ? "resend" : "sent";
      this.#resolved.set(messageId, truth);
      const answer = await this.#store.resolveDoubt(id, truth, { notify: true });
      assert.equal(answer, "resolved");
    }
  }

  /** Whether every delivery has ended. */
  async haveEnded(): Promise<boolean> {
    return (await this.#store.stats()).lanes.every(({ queued }) => queued === 0);
  }

  /**
   * Compares; throws at the first contradiction. With `clockJumps` the record cannot show which of
   * two attempts came first.
   */
  async check({ clockJumps = false } = {}): Promise<OutboxFindings> {
    const attempts = new Map<string, readonly AttemptRow[]>();
    const found = { duplicates: 0, inDoubt: 0, dead: 0, cancelled: 0 };
    await this.#readEndEvents();
    this.#checkOrigins();
    for (const { id, messageIdHeader } of this.#refused) {
      assert.equal(await this.#store.get(id), undefined, `${messageIdHeader} was refused`);
    }
    for (const message of [...this.#acknowledged, ...this.#inDoubt]) {
      const row = await this.#store.get(message.id);
      if (!row && this.#inDoubt.includes(message)) continue;
      assert.ok(row, `${message.messageIdHeader} was acknowledged and is gone`);
      const copies = this.#copiesOf(message);
      this.#checkCancel(message, row.deliveries);
      for (const delivery of row.deliveries) {
        const tried = await this.#store.attempts(delivery.id);
        attempts.set(delivery.id, tried);
        checkAttempts(delivery, tried);
        found.duplicates += this.#checkRecipients(message, copies, delivery, {
          tried,
          clockJumps,
        });
        if (delivery.state === "in_doubt") found.inDoubt += 1;
        if (delivery.state === "dead") found.dead += 1;
        if (delivery.state === "cancelled") found.cancelled += 1;
        const isHeld = delivery.state === "in_doubt";
        assert.equal(
          this.#ends.get(delivery.id) ?? 0,
          isHeld ? 0 : 1,
          `end events of ${delivery.id}`,
        );
      }
    }
    return { ...found, attempts };
  }

  /** The copies that the server got, each checked byte for byte. */
  #copiesOf(message: NewMessage): SunkMail[] {
    const bytes = Buffer.from(message.bytes).toString("latin1");
    const header = `Message-ID: ${message.messageIdHeader}`;
    const copies = this.#sink.mails.filter(({ data }) => data.startsWith(`${header}\r\n`));
    for (const { data } of copies) assert.equal(data, bytes, "a copy differs");
    return copies;
  }

  /** Every message at the server was acknowledged, or may have been stored. */
  #checkOrigins(): void {
    const known = new Set(
      [...this.#acknowledged, ...this.#inDoubt].map(({ messageIdHeader }) => messageIdHeader),
    );
    for (const { data } of this.#sink.mails) {
      const header = /^Message-ID: (.*)\r\n/.exec(data)?.[1] ?? "without a Message-ID";
      assert.ok(known.has(header), `${header} was sent and never enqueued`);
    }
  }

  #checkCancel({ id, messageIdHeader }: NewMessage, deliveries: readonly DeliveryRow[]): void {
    const cancel = this.#cancels.get(id);
    const attempts = deliveries.reduce((sum, delivery) => sum + delivery.attempts, 0);
    if (cancel?.answer === "too_late")
      assert.ok(attempts > 0, "too late to cancel, and never attempted");
    if (cancel?.answer !== "cancelled") return;
    const later = this.#sink.mails.slice(cancel.dots).map(({ data }) => data);
    const header = `Message-ID: ${messageIdHeader}\r\n`;
    assert.ok(!later.some((data) => data.startsWith(header)), `${header} was cancelled, then sent`);
  }

  #checkRecipients(
    message: NewMessage,
    copies: readonly SunkMail[],
    delivery: DeliveryRow,
    { tried, clockJumps }: { tried: readonly AttemptRow[]; clockJumps: boolean },
  ): number {
    const doubts = tried
      .slice(0, -1)
      .filter((attempt, at) => clockJumps || wasInDoubt(attempt, tried[at + 1]));
    const sent = tried.filter(({ outcome = "in_doubt" }) =>
      ["delivered", "partial", "in_doubt"].includes(outcome),
    );
    const resolved = this.#resolved.get(message.id);
    let duplicates = 0;
    for (const { address, status, reply } of delivery.recipients) {
      const own = copies.filter(
        ({ accepted, recipients }) => accepted && recipients.includes(address),
      );
      const facts = `${address}: ${status}, ${own.length} copies, attempts ${JSON.stringify(tried)}`;
      assert.ok(own.length <= sent.length, `a copy without an attempt; ${facts}`);
      assert.ok(own.length <= 1 + doubts.length, `a second copy, and no doubt on record; ${facts}`);
      if (status === "delivered" && resolved !== "sent") {
        assert.ok(own.length > 0, `delivered nowhere; ${facts}`);
      }
      if (message.doubt === "hold" && resolved !== "resend") {
        assert.ok(own.length <= 1, `held, and sent twice; ${facts}`);
      }
      if (status === "pending" || status === "deferred") {
        const { state } = delivery;
        assert.ok(state === "in_doubt" || state === "cancelled", `undecided at the end; ${facts}`);
      }
      if (status === "failed" && delivery.reason?.startsWith("permanent: ")) {
        assert.ok((reply?.code ?? 0) >= 500, `failed for good without a refusal; ${facts}`);
      }
      const [first] = own;
      if (first && doubts.length === 0) {
        assert.deepEqual(this.#namedAfter(first, address, copies), [], `named again; ${facts}`);
      }
      duplicates += Math.max(0, own.length - 1);
    }
    return duplicates;
  }

  /**
   * Where a recipient that was served is named again. A worker whose lease another worker took may
   * still send RCPT before it is refused its dot; so with several workers only the dots count.
   */
  #namedAfter(first: SunkMail, address: string, copies: readonly SunkMail[]): readonly unknown[] {
    if (this.workers > 1) {
      const later = copies.slice(copies.indexOf(first) + 1);
      return later.filter(({ recipients }) => recipients.includes(address));
    }
    const later = this.#sink.lines.slice(first.linesBefore);
    return later.filter((line) => line.startsWith("RCPT") && line.includes(`<${address}>`));
  }

  async #readEndEvents(): Promise<void> {
    for (;;) {
      const events = await this.#store.claimEvents({ limit: 500, leaseMs: 60_000 });
      if (events.length === 0) return;
      for (const { type, deliveryId = "" } of events) {
        if (!/^delivery\.(done|dead|cancelled)$/.test(type)) continue;
        this.#ends.set(deliveryId, (this.#ends.get(deliveryId) ?? 0) + 1);
      }
      await this.#store.acknowledgeEvents(events.map(({ seq }) => seq));
    }
  }
}

/** Whether the outcome of an attempt was not on record when the next one began. */
function wasInDoubt(attempt: AttemptRow, next: AttemptRow | undefined): boolean {
  if ((attempt.outcome ?? "in_doubt") === "in_doubt") return true;
  return (attempt.finishedAtMs ?? 0) > (next?.startedAtMs ?? 0);
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
    // The attempt of a held delivery stays open until the doubt is resolved.
    assert.ok(outcome ?? state === "in_doubt", `attempt ${attemptNo} of ${id} is open`);
  }
  assert.ok(cycleAttempts <= tried.length, `${id} spent more attempts than it made`);
}
