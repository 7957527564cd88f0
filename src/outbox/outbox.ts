/**
 * The outbox as an application sees it: `enqueue` stores mail durably, alone or in the
 * application's own transaction; other calls show, cancel and redrive it. The worker sends it.
 */
import type { Address } from "../mail/index.ts";
import { type Clock, invariant, systemClock } from "../system/index.ts";
import { compose, type MailContent } from "./compose/compose.ts";
import { contentHash } from "./compose/content-hash.ts";
import { checkDoubt, wholeNumber } from "./model/checks.ts";
import { OutboxError } from "./model/errors.ts";
import { type MailOptions, type MessageSettings, newMessage } from "./model/new-message.ts";
import type { DoubtPolicy, EnqueueResult, NewMessage } from "./model/rows.ts";
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
   * The route of a recipient: the name of a relay, or a domain. Recipients of one mail with the
   * same route share a delivery. @defaultValue the recipient's domain
   */
  readonly routeOf?: ((recipient: Address) => string) | undefined;
  /** How long mail is tried, in milliseconds after it is due. @defaultValue 5 days */
  readonly expireAfterMs?: number | undefined;
  /** What to do when it is unknown whether a mail was sent. @defaultValue "resend" */
  readonly doubt?: DoubtPolicy | undefined;
  /** How long idempotency keys are remembered, in milliseconds. @defaultValue 7 days */
  readonly idempotencyKeepMs?: number | undefined;
  /** Largest message, in bytes. @defaultValue 50 MiB */
  readonly maxMessageBytes?: number | undefined;
  /** Most recipients of one mail, at most 1000. @defaultValue 1000 */
  readonly maxRecipients?: number | undefined;
  /** Whether hooks receive events of calls to this outbox, such as a cancel. @defaultValue false */
  readonly notify?: boolean | undefined;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

/** The content of a mail, with its options in the outbox. */
export type Mail = MailContent & MailOptions;

export interface EnqueueOptions {
  /**
   * A transaction of the application on the same database: the mail is sent if and when it commits.
   * An open `pg` client, a `DatabaseSync`, a better-sqlite3 database, or `{ query(text, values) }`.
   */
  readonly tx?: TransactionHandle | undefined;
  /** The request that an idempotency key stands for, one for each mail. @defaultValue the mail */
  readonly requests?: readonly unknown[] | undefined;
}

export interface Enqueued {
  /** Public id of the message. */
  readonly id: string;
  /** The idempotency key was known: `id` is the earlier message, and nothing was stored. */
  readonly duplicate: boolean;
  /**
   * With angle brackets. For a duplicate that of the first mail, but with `tx` that of the repeat.
   */
  readonly messageId: string;
  readonly recipients: readonly Address[];
}

const day = 24 * 60 * 60 * 1000;
/** The most deliveries that the key of a message has room for. */
const recipientLimit = 1000;

interface OutboxSettings extends MessageSettings {
  readonly notify: boolean;
  readonly clock: Clock;
}

/** Makes an outbox on an open store. @throws {OutboxError} ERR_OUTBOX_OPTION */
export function createOutbox(options: OutboxOptions): Outbox {
  return new Outbox(options);
}

export class Outbox {
  readonly store: OutboxStore;
  readonly #settings: OutboxSettings;

  constructor(options: OutboxOptions) {
    this.store = options.store;
    this.#settings = settingsOf(options);
  }

  /**
   * Enqueues a mail. When this resolves the mail is durable or, with `tx`, part of that
   * transaction.
   *
   * @throws {OutboxError} ERR_OUTBOX_MAIL when it cannot be sent as it is,
   *   ERR_OUTBOX_IDEMPOTENCY_CONFLICT, ERR_OUTBOX_STORE, ERR_OUTBOX_IN_DOUBT.
   */
  async enqueue(mail: Mail, options: EnqueueOptions = {}): Promise<Enqueued> {
    const [enqueued] = await this.enqueueMany([mail], options);
    invariant(enqueued !== undefined, "each mail has an answer");
    return enqueued;
  }

  /**
   * Enqueues several mails in one commit. All of them are checked and composed before any is
   * stored. If one conflicts, this rejects although the others are stored; with `tx`, roll back.
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
      messages.map((message, index) => this.#enqueuedOf(results[index], message, tx)),
    );
  }

  /** Reads a message with its deliveries and recipients, by its id or that of a delivery. */
  get(id: string): Promise<MessageRow | undefined> {
    return this.store.get(id);
  }

  /** Lists deliveries, newest first. @throws {OutboxError} ERR_OUTBOX_OPTION for a bad filter. */
  async list(filter: Partial<ListFilter> = {}): Promise<Page> {
    const limit = filter.limit ?? 50;
    wholeNumber("limit", limit, 1, 1000);
    return this.store.list({ ...filter, limit });
  }

  /** Lists the attempts of a delivery, in order. */
  attempts(deliveryId: string): Promise<readonly AttemptRow[]> {
    return this.store.attempts(deliveryId);
  }

  /**
   * Cancels a delivery, or all of a message. Of several answers it returns the least certain one:
   * `unknown`, else `too_late`. `cancelled` means that none of it will be sent from now on.
   *
   * @throws {OutboxError} ERR_OUTBOX_NOT_FOUND
   */
  async cancel(id: string): Promise<CancelAnswer> {
    const answers = await this.store.cancel(id, { notify: this.#settings.notify });
    if (answers.length === 0) throw notFound(id);
    const given = new Set(answers.map(({ answer }) => answer));
    if (given.has("unknown")) return "unknown";
    return given.has("too_late") ? "too_late" : "cancelled";
  }

  /**
   * Sends ended deliveries again, to the recipients without the mail or to all. The attempt numbers
   * continue, the budget of attempts starts anew. With `newMessageId` receivers see another mail.
   *
   * @throws {OutboxError} ERR_OUTBOX_NOT_FOUND
   */
  async redrive(
    id: string,
    options: {
      readonly recipients?: RedriveOptions["recipients"] | undefined;
      readonly newMessageId?: boolean | undefined;
    } = {},
  ): Promise<readonly { readonly id: string; readonly answer: RedriveAnswer }[]> {
    const { expireAfterMs, clock } = this.#settings;
    const message = await this.store.get(id);
    if (message === undefined) throw notFound(id);
    const domain = message.messageIdHeader.slice(message.messageIdHeader.lastIndexOf("@"));
    const answers = await this.store.redrive(id, {
      recipients: options.recipients ?? "undelivered",
      expireAfterMs,
      messageIdHeader: options.newMessageId ? `<${uuidv7(clock.wallTimeMs())}${domain}` : undefined,
    });
    if (answers.length === 0) throw notFound(id);
    return answers;
  }

  /** Ends the doubt about a held delivery. @throws {OutboxError} ERR_OUTBOX_NOT_FOUND */
  async resolveDoubt(id: string, truth: "sent" | "resend"): Promise<"resolved" | "not_in_doubt"> {
    const { notify } = this.#settings;
    const answer = await this.store.resolveDoubt(id, truth, { notify });
    if (answer === "not_found") throw notFound(id);
    return answer;
  }

  /** Removes old rows, batch by batch, until none is left to remove. */
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
   * Counts what the store holds.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION when a newer program has changed the tables.
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
    const wallTimeMs = this.#settings.clock.wallTimeMs();
    const id = uuidv7(wallTimeMs);
    const composed = await compose(content as MailContent, { id, date: new Date(wallTimeMs) });
    const contentSha256 =
      idempotencyKey === undefined
        ? undefined
        : contentHash(request ?? { ...mail, idempotencyKey: undefined });
    return newMessage({ id, ...composed, contentSha256 }, mail, this.#settings);
  }

  async #enqueuedOf(
    result: EnqueueResult | undefined,
    message: NewMessage,
    tx?: TransactionHandle,
  ): Promise<Enqueued> {
    invariant(result !== undefined, "the store answers for each message");
    const { kind, id } = result;
    if (kind === "conflict") {
      const text = `The idempotency key belongs to another mail, ${id}; this mail was not enqueued.`;
      throw new OutboxError("ERR_OUTBOX_IDEMPOTENCY_CONFLICT", text, { id });
    }
    const duplicate = kind === "duplicate";
    // The first mail is sent, not this one. While a transaction is open the store gets no other
    // call: it may be waiting for that transaction.
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
}

/** Default ages of a purge. */
const retention: PurgeRequest = {
  bytesAfterMs: 7 * day,
  rowsAfterMs: 30 * day,
  deadAfterMs: 90 * day,
  eventsAfterMs: 30 * day,
  limit: 1000,
};

/** The domain of a composed address, in the form in which it is looked up. */
function domainOf(address: Address): string {
  return address.slice(address.lastIndexOf("@") + 1);
}

function settingsOf(options: OutboxOptions): OutboxSettings {
  const settings: OutboxSettings = {
    routeOf: options.routeOf ?? domainOf,
    expireAfterMs: options.expireAfterMs ?? 5 * day,
    doubt: options.doubt ?? "resend",
    idempotencyKeepMs: options.idempotencyKeepMs ?? 7 * day,
    maxMessageBytes: options.maxMessageBytes ?? 50 * 1024 * 1024,
    maxRecipients: options.maxRecipients ?? recipientLimit,
    notify: options.notify ?? false,
    clock: options.clock ?? systemClock,
  };
  wholeNumber("expireAfterMs", settings.expireAfterMs);
  wholeNumber("idempotencyKeepMs", settings.idempotencyKeepMs);
  wholeNumber("maxMessageBytes", settings.maxMessageBytes);
  wholeNumber("maxRecipients", settings.maxRecipients, 1, recipientLimit);
  checkDoubt(settings.doubt);
  return settings;
}

function notFound(id: string): OutboxError {
  const text = `No message or delivery has the id ${id}.`;
  return new OutboxError("ERR_OUTBOX_NOT_FOUND", text, { id });
}
