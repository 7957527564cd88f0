/**
 * Local delivery as a {@link Deliver}, the function that an SMTP or LMTP server calls with each
 * message: each recipient's copy goes through the executor into that recipient's Maildir.
 *
 * Recipients are delivered side by side and each gets its own outcome. A local failure (full disk,
 * read-only file system, too many files) is temporary for the sender, never permanent: a message
 * bounced because of our disk would be lost (RFC 5321 §4.2.1, RFC 3463 §3.4).
 */
import {
  type Address,
  type Deliver,
  type DeliverOptions,
  delivered,
  deliveryHeaders,
  type Envelope,
  type LineEndings,
  type Message,
  type RecipientOutcome,
  type Reply,
  refused,
  reply,
  type StoredCopy,
} from "../mail/index.ts";
import type { Body } from "../maildir/index.ts";
import { DeliveryError } from "./errors.ts";
import type { DeliveryExecutor } from "./executor.ts";

export interface LocalDeliveryOptions {
  /** The line endings of stored messages. @defaultValue "lf" */
  readonly lineEndings?: LineEndings | undefined;
  /**
   * Called once for each copy, when it is durable or has failed; two recipients of one mailbox
   * share a copy. Must not throw. Without it no event is reported.
   */
  readonly onEvent?: ((event: LocalDeliveryEvent) => void) | undefined;
}

export type LocalDeliveryEvent =
  | {
      readonly kind: "delivered";
      readonly recipient: Address;
      readonly copy: StoredCopy;
      /** Bytes of the stored file. */
      readonly size: number;
    }
  | {
      readonly kind: "deferred";
      readonly recipient: Address;
      readonly mailbox: string;
      readonly error: unknown;
    };

/** Finds a recipient's mailbox: the path of a Maildir, or the reply that refuses the recipient. */
export type MailboxOf = (recipient: Address) => string | Reply;

/**
 * Makes a {@link Deliver} that stores through an executor. It resolves when every copy is durable
 * or refused, and rejects, with no copy stored, when `beforeCommit` or reading the message fails.
 */
export function localDelivery(
  executor: DeliveryExecutor,
  mailboxOf: MailboxOf,
  { lineEndings = "lf", onEvent = () => {} }: LocalDeliveryOptions = {},
): Deliver {
  return async (envelope, message, options) => {
    await options.beforeCommit?.();
    const content = await contentOf(message);
    // Two addresses of one mailbox in one transaction get one copy and one outcome each.
    const byMailbox = new Map<string, Promise<RecipientOutcome>>();
    return Promise.all(
      envelope.recipients.map((recipient) => {
        const mailbox = mailboxOf(recipient);
        if (typeof mailbox !== "string") return Promise.resolve(refused(mailbox));
        const delivery =
          byMailbox.get(mailbox) ?? deliverTo(mailbox, recipient, envelope, content, options);
        byMailbox.set(mailbox, delivery);
        return delivery;
      }),
    );
  };

  async function deliverTo(
    mailbox: string,
    recipient: Address,
    envelope: Envelope,
    content: Uint8Array | SpooledContent,
    { signal }: DeliverOptions,
  ): Promise<RecipientOutcome> {
    const head = deliveryHeaders({ reversePath: envelope.reversePath, recipient, lineEndings });
    const body = joined(head, content);
    try {
      const receipt = await executor.submit(mailbox, body, { signal });
      const size = body instanceof Uint8Array ? body.length : body.size;
      const copy = { mailbox, ...receipt };
      onEvent({ kind: "delivered", recipient, copy, size });
      return delivered(saved, copy);
    } catch (error) {
      onEvent({ kind: "deferred", recipient, mailbox, error });
      return refused(replyFor(error));
    }
  }
}

/** A message in a spool file; `size` in bytes. */
interface SpooledContent {
  readonly file: string;
  readonly size: number;
}

async function contentOf(message: Message): Promise<Uint8Array | SpooledContent> {
  if (message.file !== undefined) return { file: message.file, size: message.size };
  return message.bytes();
}

function joined(head: Uint8Array, content: Uint8Array | SpooledContent): Body {
  if (!(content instanceof Uint8Array)) {
    return { head, file: content.file, size: head.length + content.size };
  }
  const body = new Uint8Array(head.length + content.length);
  body.set(head);
  body.set(content, head.length);
  return body;
}

const saved = reply(250, "2.0.0", "Saved");
const busy = reply(452, "4.3.1", "Too busy to take the message now, try again later");
const full = reply(452, "4.3.1", "Not enough storage now, try again later");
const overQuota = reply(452, "4.2.2", "Mailbox is full, try again later");
const unusable = reply(451, "4.2.0", "Mailbox cannot be used now, try again later");
const failed = reply(451, "4.3.0", "Message could not be stored, try again later");

/** Replies by the errno of the failure, all temporary (4xx); any other errno gets `failed`. */
const replyByErrno: Readonly<Record<string, Reply>> = {
  ENOSPC: full,
  EDQUOT: overQuota,
  EFBIG: overQuota,
  ENOTDIR: unusable,
  EEXIST: unusable,
  ELOOP: unusable,
  EACCES: unusable,
  EPERM: unusable,
};

function replyFor(error: unknown): Reply {
  if (!(error instanceof DeliveryError)) return busy; // The signal's reason: no admission in time.
  if (error.code === "ERR_DELIVERY_TOO_LARGE") return busy;
  return (error.errno !== undefined && replyByErrno[error.errno]) || failed;
}
