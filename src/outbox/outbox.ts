/**
 * The outbox as an application sees it: mail goes in durably, alone or in the application's own
 * transaction, and can be looked at, cancelled and sent again. Sending is the worker's business.
 */
import type { Address } from "../mail/index.ts";
import { type Clock, systemClock } from "../system/index.ts";
import { type ComposedMail, compose, type MailContent } from "./compose/compose.ts";
import { contentHash } from "./compose/content-hash.ts";
import {
  atMost,
  checkDoubt,
  checkedKey,
  checkedTags,
  checkedTemplate,
  instant,
  wholeNumber,
} from "./model/checks.ts";
import { OutboxError } from "./model/errors.ts";
import type { DoubtPolicy, EnqueueResult, Lane, NewDelivery, NewMessage } from "./model/rows.ts";
import type { OutboxStore, TransactionHandle } from "./model/store.ts";
import { uuidv7 } from "./model/uuid.ts";
import type {
  AttemptRow,
  CancelAnswer,
  ListFilter,
  MessageRow,
  Page,
  PurgeRequest,
  PurgeResult,
  RedriveAnswer,
  RedriveOptions,
  StoreStats,
} from "./model/views.ts";

export interface OutboxOptions {
  readonly store: OutboxStore;
  /**
   * The route of a recipient: the name of a relay, or a domain. Recipients of one mail with the same
   * route travel together. @defaultValue the recipient's domain
   */
  readonly routeOf?: (recipient: Address) => string;
  /** How long mail is tried, in milliseconds from when it was due. @defaultValue 5 days */
  readonly expireAfterMs?: number;
  /** What to do when it is not known whether a mail was sent. @defaultValue "resend" */
  readonly doubt?: DoubtPolicy;
  /** How long idempotency keys are remembered, in milliseconds. @defaultValue 7 days */
  readonly idempotencyKeepMs?: number;
  /** Largest message, in octets. @defaultValue 50 MiB */
  readonly maxMessageBytes?: number;
  /** Most recipients of one mail. @defaultValue 1000 */
  readonly maxRecipients?: number;
  /** Whether hooks hear of what is done through this outbox, such as a cancel. @defaultValue false */
  readonly notify?: boolean;
  /** @defaultValue the machine's */
  readonly clock?: Clock;
}

/** A mail with what the outbox is to do with it. */
export type Mail = MailContent & {
  /** Not before this instant. */
  readonly sendAt?: Date;
  /** No attempt starts after this instant. */
  readonly expiresAt?: Date;
  /**
   * Makes repeats harmless: the same key with the same mail answers with the first one's id, with
   * another mail it is refused. At most 256 characters.
   */
  readonly idempotencyKey?: string;
  /** A label of the application, for logs and hooks. */
  readonly template?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly doubt?: DoubtPolicy;
  /** @defaultValue "normal" */
  readonly lane?: Exclude<Lane, "quarantine" | "local">;
};

export interface EnqueueOptions {
  /**
   * A transaction of the application's on the same database: the mail is sent if and when it commits.
   * An open `pg` client, a `DatabaseSync`, a better-sqlite3 database, or `{ query(text, values) }`.
   */
  readonly tx?: TransactionHandle;
  /** What an idempotency key stands for, where that is not the mail itself, one for each mail. */
  readonly requests?: readonly unknown[];
}

export interface Enqueued {
  /** Public id of the message. */
  readonly id: string;
  /** The idempotency key was known: this is the earlier message, and nothing was stored. */
  readonly duplicate: boolean;
  /** With its angle brackets. Of a repeat that of the first mail; with `tx`, that of the repeat. */
  readonly messageId: string;
  readonly recipients: readonly Address[];
}

const day = 24 * 60 * 60 * 1000;
/** Deliveries of one message are counted in ten bits. */
const MAX_RECIPIENTS = 1000;

/** Makes an outbox on an open store. @throws {OutboxError} ERR_OUTBOX_OPTION */
export function createOutbox(options: OutboxOptions): Outbox {
  return new Outbox(options);
}

export class Outbox {
  readonly store: OutboxStore;
  readonly #options: Required<OutboxOptions>;

  constructor(options: OutboxOptions) {
    this.store = options.store;
    this.#options = {
      routeOf: domainOf,
      expireAfterMs: 5 * day,
      doubt: "resend",
      idempotencyKeepMs: 7 * day,
      maxMessageBytes: 50 * 1024 * 1024,
      maxRecipients: MAX_RECIPIENTS,
      notify: false,
      clock: systemClock,
      ...options,
    };
    const { expireAfterMs, idempotencyKeepMs, maxMessageBytes, maxRecipients, doubt } =
      this.#options;
    wholeNumber("expireAfterMs", expireAfterMs, 1);
    wholeNumber("idempotencyKeepMs", idempotencyKeepMs, 1);
    wholeNumber("maxMessageBytes", maxMessageBytes, 1);
    wholeNumber("maxRecipients", maxRecipients, 1, MAX_RECIPIENTS);
    checkDoubt(doubt);
  }

  /**
   * Takes a mail: when this resolves it is durable, or, with `tx`, a part of that transaction.
   *
   * @throws {OutboxError} ERR_OUTBOX_MAIL when it cannot be sent as it is,
   *   ERR_OUTBOX_IDEMPOTENCY_CONFLICT, ERR_OUTBOX_STORE, ERR_OUTBOX_IN_DOUBT.
   */
  async enqueue(mail: Mail, options: EnqueueOptions = {}): Promise<Enqueued> {
    const [enqueued] = await this.enqueueMany([mail], options);
    return enqueued as Enqueued;
  }

  /**
   * Takes several mails, in one commit. All of them are checked and composed before any is stored. If
   * one conflicts, this rejects with the others stored; with `tx`, roll back.
   */
  async enqueueMany(
    mails: readonly Mail[],
    { tx, requests }: EnqueueOptions = {},
  ): Promise<readonly Enqueued[]> {
    const messages = await Promise.all(
      mails.map((mail, index) => this.#messageOf(mail, requests?.[index])),
    );
    const results = tx
      ? await this.store.enqueueWithin(tx, messages)
      : await this.store.enqueue(messages);
    return Promise.all(
      results.map((result, index) => this.#enqueuedOf(result, messages[index] as NewMessage, tx)),
    );
  }

  /** One message with its deliveries and recipients, by its id or that of a delivery. */
  get(id: string): Promise<MessageRow | undefined> {
    return this.store.get(id);
  }

  /** Deliveries, newest first. @throws {OutboxError} ERR_OUTBOX_OPTION for a bad limit or cursor. */
  async list(filter: Partial<ListFilter> = {}): Promise<Page> {
    const limit = filter.limit ?? 50;
    wholeNumber("limit", limit, 1, 1000);
    return this.store.list({ ...filter, limit });
  }

  /** The attempts of a delivery, in order. */
  attempts(deliveryId: string): Promise<readonly AttemptRow[]> {
    return this.store.attempts(deliveryId);
  }

  /**
   * Cancels a delivery, or all of a message. Of several answers the least certain counts: `unknown`,
   * then `too_late`; `cancelled` says that nothing of it will be sent from now on.
   *
   * @throws {OutboxError} ERR_OUTBOX_NOT_FOUND
   */
  async cancel(id: string): Promise<CancelAnswer> {
    const answers = await this.store.cancel(id, { notify: this.#options.notify });
    if (answers.length === 0) throw notFound(id);
    const given = new Set(answers.map(({ answer }) => answer));
    return (["unknown", "too_late", "cancelled"] as const).find((answer) =>
      given.has(answer),
    ) as CancelAnswer;
  }

  /**
   * Sends again what has ended: to those who were not reached, or to all. Attempt numbers go on, the
   * budget starts anew. With `newMessageId` receivers take it for another mail.
   *
   * @throws {OutboxError} ERR_OUTBOX_NOT_FOUND
   */
  async redrive(
    id: string,
    options: {
      readonly recipients?: RedriveOptions["recipients"];
      readonly newMessageId?: boolean;
    } = {},
  ): Promise<readonly { readonly id: string; readonly answer: RedriveAnswer }[]> {
    const { expireAfterMs, clock } = this.#options;
    const message = await this.store.get(id);
    if (message === undefined) throw notFound(id);
    const domain = message.messageIdHeader.slice(message.messageIdHeader.lastIndexOf("@"));
    const messageIdHeader = `<${uuidv7(clock.wallTimeMs())}${domain}`;
    const answers = await this.store.redrive(id, {
      recipients: options.recipients ?? "undelivered",
      expireAfterMs,
      ...(options.newMessageId ? { messageIdHeader } : {}),
    });
    if (answers.length === 0) throw notFound(id);
    return answers;
  }

  /** Ends the doubt about a delivery that is held. @throws {OutboxError} ERR_OUTBOX_NOT_FOUND */
  async resolveDoubt(id: string, truth: "sent" | "resend"): Promise<"resolved" | "not_in_doubt"> {
    const { notify } = this.#options;
    const answer = await this.store.resolveDoubt(id, truth, { notify });
    if (answer === "not_found") throw notFound(id);
    return answer;
  }

  /** Removes what is old enough, batch by batch, until nothing is left to remove. */
  async purge(request: Partial<PurgeRequest> = {}): Promise<PurgeResult> {
    const given = { ...retention, ...request };
    const total = { bytes: 0, messages: 0, events: 0, idempotencyKeys: 0 };
    for (;;) {
      const round = await this.store.purge(given);
      for (const kind of Object.keys(total) as (keyof PurgeResult)[]) total[kind] += round[kind];
      if (Object.values(round).every((count) => count < given.limit)) return total;
    }
  }

  /**
   * What the store holds.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION when a newer program has changed the tables meanwhile.
   */
  async stats(): Promise<StoreStats> {
    await this.store.checkVersion();
    return this.store.stats();
  }

  /** Closes the store. */
  close(): Promise<void> {
    return this.store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #messageOf(mail: Mail, request: unknown): Promise<NewMessage> {
    const { sendAt, expiresAt, idempotencyKey, template, tags, doubt, lane, ...content } = mail;
    const { clock, expireAfterMs, idempotencyKeepMs, maxMessageBytes, maxRecipients } =
      this.#options;
    if (doubt !== undefined) checkDoubt(doubt);
    const wallTimeMs = clock.wallTimeMs();
    const id = uuidv7(wallTimeMs);
    const composed = await compose(content as MailContent, { id, date: new Date(wallTimeMs) });
    atMost("octets", composed.bytes.length, maxMessageBytes);
    atMost("recipients", composed.recipients.length, maxRecipients);
    return {
      id,
      reversePath: composed.reversePath,
      bytes: composed.bytes,
      messageIdHeader: composed.messageIdHeader,
      ...(composed.subject === undefined ? {} : { subject: composed.subject.slice(0, 200) }),
      ...(template === undefined ? {} : { template: checkedTemplate(template) }),
      ...(tags === undefined ? {} : { tags: checkedTags(tags) }),
      doubt: doubt ?? this.#options.doubt,
      lane: lane ?? "normal",
      ...(sendAt === undefined ? {} : { sendAtMs: instant("sendAt", sendAt) }),
      ...(expiresAt === undefined ? {} : { expiresAtMs: instant("expiresAt", expiresAt) }),
      expireAfterMs,
      deliveries: this.#deliveriesOf(composed),
      ...(idempotencyKey === undefined
        ? {}
        : {
            idempotency: {
              scope: "enqueue",
              key: checkedKey(idempotencyKey),
              contentSha256: contentHash(request ?? { ...mail, idempotencyKey: undefined }),
              keepMs: idempotencyKeepMs,
            },
          }),
    };
  }

  async #enqueuedOf(
    result: EnqueueResult,
    message: NewMessage,
    tx?: TransactionHandle,
  ): Promise<Enqueued> {
    const { kind, id } = result;
    if (kind === "conflict") {
      const text = `The idempotency key was used for another mail, ${id}; nothing was enqueued.`;
      throw new OutboxError("ERR_OUTBOX_IDEMPOTENCY_CONFLICT", text, { id });
    }
    const duplicate = kind === "duplicate";
    // What was composed now is not sent. With a transaction open nothing else is asked of the store: it
    // may be waiting for just that one.
    const first = duplicate && !tx ? await this.store.get(id) : undefined;
    return {
      id,
      duplicate,
      messageId: first?.messageIdHeader ?? message.messageIdHeader,
      recipients: message.deliveries.flatMap(({ recipients }) =>
        recipients.map(({ address }) => address),
      ),
    };
  }

  #deliveriesOf({ recipients }: ComposedMail): NewDelivery[] {
    const byRoute = Map.groupBy(recipients, ({ address }) => this.#options.routeOf(address));
    return [...byRoute].map(([route, those]) => ({ route, recipients: those }));
  }
}

/** How long what has ended is kept, unless said otherwise. */
const retention: PurgeRequest = {
  bytesAfterMs: 7 * day,
  rowsAfterMs: 30 * day,
  deadAfterMs: 90 * day,
  eventsAfterMs: 30 * day,
  limit: 1000,
};

/** The domain of an address as it was composed, which is the domain as it is looked up. */
function domainOf(address: Address): string {
  return address.slice(address.lastIndexOf("@") + 1);
}

function notFound(id: string): OutboxError {
  return new OutboxError("ERR_OUTBOX_NOT_FOUND", `No message or delivery has the id ${id}.`, {
    id,
  });
}
