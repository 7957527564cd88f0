/**
 * The outbox as an application sees it: `enqueue` stores mail durably, alone or in the
 * application's own transaction; other calls show, cancel and redrive mail. Each call checks its
 * arguments and passes them to the store; the worker (`worker/worker.ts`) sends the mail.
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
  /**
   * How long attempts go on, in milliseconds after a mail is due; a mail's own `expiresAt` replaces
   * this. @defaultValue 5 days
   */
  readonly expireAfterMs?: number | undefined;
  /**
   * What the worker does when it is unknown whether a mail was sent: send it again, or hold it for
   * an operator. A mail's own `doubt` replaces this. @defaultValue "resend"
   */
  readonly doubt?: DoubtPolicy | undefined;
  /** How long an idempotency key is remembered, in milliseconds. @defaultValue 7 days */
  readonly idempotencyKeepMs?: number | undefined;
  /** Largest composed message, in bytes. @defaultValue 50 MiB */
  readonly maxMessageBytes?: number | undefined;
  /** Most recipients of one mail, at most 1000. @defaultValue 1000 */
  readonly maxRecipients?: number | undefined;
  /**
   * Whether hooks receive the events of calls to this outbox, such as a cancel. Without it these
   * events are history only. @defaultValue false
   */
  readonly notify?: boolean | undefined;
  /**
   * For ids and the header field Date only: due times are by the clock of the store.
   * @defaultValue the machine's clock
   */
  readonly clock?: Clock | undefined;
}

/** The content of a mail, with its options in the outbox. */
export type Mail = MailContent & MailOptions;

export interface EnqueueOptions {
  /**
   * A transaction of the application on the same database: the mail is sent if and when the
   * transaction commits. An open `pg` client, a `DatabaseSync`, a better-sqlite3 database, or
   * `{ query(text, values) }`. @defaultValue none: the mail has a transaction of its own
   */
  readonly tx?: TransactionHandle | undefined;
  /**
   * For each mail the content by which a repeat of its idempotency key is recognised.
   * @defaultValue the mail itself
   */
  readonly requests?: readonly unknown[] | undefined;
}

export interface Enqueued {
  /** Public id of the message. */
  readonly id: string;
  /** The idempotency key was known: `id` is the message of its first use, nothing was stored. */
  readonly duplicate: boolean;
  /**
   * The Message-ID, with angle brackets: for a duplicate that of the first mail, or with `tx` that
   * of the repeat, which no mail has.
   */
  readonly messageId: string;
  readonly recipients: readonly Address[];
}

const day = 24 * 60 * 60 * 1000;
/** Most recipients of a mail: each may need a delivery, and row keys have room for 1,023. */
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
   * stored. If the idempotency key of one belongs to another mail, the call rejects although the
   * other mails are stored; with `tx`, roll back.
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

  /** Lists the attempts of a delivery, the first one first. */
  attempts(deliveryId: string): Promise<readonly AttemptRow[]> {
    return this.store.attempts(deliveryId);
  }

  /**
   * Cancels a delivery, or all deliveries of a message, by public id. Of several answers it returns
   * the least certain one: `unknown`, else `too_late`. `cancelled` means that none of the
   * deliveries will be sent from now on.
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
   * Makes ended deliveries due again, to the recipients without the mail (default) or to all. The
   * attempt numbers continue, the budget of attempts starts anew. With `newMessageId` the mail gets
   * a new Message-ID, so that receivers do not take it for a repeat.
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

  /**
   * Ends the doubt about a held delivery: it was `sent`, or the worker is to `resend` it.
   *
   * @throws {OutboxError} ERR_OUTBOX_NOT_FOUND
   */
  async resolveDoubt(id: string, truth: "sent" | "resend"): Promise<"resolved" | "not_in_doubt"> {
    const { notify } = this.#settings;
    const answer = await this.store.resolveDoubt(id, truth, { notify });
    if (answer === "not_found") throw notFound(id);
    return answer;
  }

  /** Removes rows older than the ages of the request, batch by batch; returns their numbers. */
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
   * Counts the deliveries by lane and state, the blocked routes and the waiting events.
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
    // For a duplicate only the first mail is sent. While a transaction is open the store gets no
    // other call: that call might wait for the transaction.
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

/** Default ages of a purge, and the rows of each kind that one batch removes. */
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
