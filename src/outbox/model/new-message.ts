/**
 * Makes the message that `outbox.ts` passes to a store, from composed content, the options of the
 * mail and the settings of the outbox. Of the settings a mail can replace two: `doubt`, and by
 * `expiresAt` the expiry. The options of the mail are checked here; the store decides nothing.
 */
import type { Address } from "../../mail/index.ts";
import { invariant } from "../../system/index.ts";
import { atMost, checkDoubt, checkedKey, checkedTags, checkedTemplate, instant } from "./checks.ts";
import type { DoubtPolicy, IdempotencyKey, Lane, NewDelivery, NewMessage } from "./rows.ts";

/** The options of a mail beside its content. */
export interface MailOptions {
  /** The mail is not sent before this instant. @defaultValue none: it is due at once */
  readonly sendAt?: Date | undefined;
  /** No attempt starts after it. @defaultValue `expireAfterMs` of the outbox after it is due */
  readonly expiresAt?: Date | undefined;
  /**
   * Makes repeats harmless: an enqueue with a known key and the same mail returns the id of the
   * first mail; with another mail it rejects. At most 256 characters.
   */
  readonly idempotencyKey?: string | undefined;
  /** A label of the application, for logs and hooks. */
  readonly template?: string | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  /** What happens when it is unknown whether it was sent. @defaultValue `doubt` of the outbox */
  readonly doubt?: DoubtPolicy | undefined;
  /**
   * The queue of the mail: workers claim from `critical` first and from `bulk` last.
   * @defaultValue "normal"
   */
  readonly lane?: Exclude<Lane, "quarantine" | "local"> | undefined;
}

/** The settings of an outbox that its messages depend on. */
export interface MessageSettings {
  readonly routeOf: (recipient: Address) => string;
  readonly expireAfterMs: number;
  readonly doubt: DoubtPolicy;
  readonly idempotencyKeepMs: number;
  readonly maxMessageBytes: number;
  readonly maxRecipients: number;
}

/** The content of a mail once it is composed. */
export interface MessageContent
  extends Pick<NewMessage, "id" | "reversePath" | "bytes" | "messageIdHeader" | "subject"> {
  readonly recipients: NewDelivery["recipients"];
  /** The hash by which an idempotency key recognises a repeat; only for a mail with a key. */
  readonly contentSha256?: Uint8Array | undefined;
}

const maxSubjectLength = 200;

/**
 * @throws {OutboxError} ERR_OUTBOX_MAIL for too large a mail, ERR_OUTBOX_OPTION for a bad option.
 */
export function newMessage(
  content: MessageContent,
  options: MailOptions,
  settings: MessageSettings,
): NewMessage {
  const { recipients, contentSha256, subject, ...composed } = content;
  const { sendAt, expiresAt, idempotencyKey, template, tags } = options;
  const { doubt = settings.doubt, lane = "normal" } = options;
  checkDoubt(doubt);
  atMost("bytes", composed.bytes.length, settings.maxMessageBytes);
  atMost("recipients", recipients.length, settings.maxRecipients);
  return {
    ...composed,
    subject: subject?.slice(0, maxSubjectLength),
    template: template === undefined ? undefined : checkedTemplate(template),
    tags: tags === undefined ? undefined : checkedTags(tags),
    doubt,
    lane,
    sendAtMs: sendAt === undefined ? undefined : instant("sendAt", sendAt),
    expiresAtMs: expiresAt === undefined ? undefined : instant("expiresAt", expiresAt),
    expireAfterMs: settings.expireAfterMs,
    deliveries: deliveriesOf(recipients, settings.routeOf),
    idempotency:
      idempotencyKey === undefined
        ? undefined
        : idempotencyOf(idempotencyKey, contentSha256, settings.idempotencyKeepMs),
  };
}

function idempotencyOf(
  key: string,
  contentSha256: Uint8Array | undefined,
  keepMs: number,
): IdempotencyKey {
  invariant(contentSha256 !== undefined, "the content of a mail with a key has a hash");
  return { scope: "enqueue", key: checkedKey(key), contentSha256, keepMs };
}

/** One delivery for each route, in the order of their first recipients. */
function deliveriesOf(
  recipients: NewDelivery["recipients"],
  routeOf: MessageSettings["routeOf"],
): NewDelivery[] {
  const byRoute = Map.groupBy(recipients, ({ address }) => routeOf(address));
  return [...byRoute].map(([route, those]) => ({ route, recipients: those }));
}
