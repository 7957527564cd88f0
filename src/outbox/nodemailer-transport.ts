/**
 * A nodemailer transport that enqueues mail in the outbox, so that an application changes one line:
 * `createTransport(postbagTransport(outbox))`. `sendMail` then resolves when the mail is durable.
 */
import type { SendMailOptions, Transport } from "nodemailer";
import { OutboxError } from "./model/errors.ts";
import type { EnqueueOptions, Mail, Outbox } from "./outbox.ts";

/** The result of `sendMail`. */
export interface PostbagInfo {
  /** The Message-ID, under the name of nodemailer's own transports. */
  readonly messageId: string;
  readonly envelope: { readonly from: string | false; readonly to: readonly string[] };
  readonly accepted: readonly string[];
  readonly rejected: readonly string[];
  readonly pending: readonly string[];
  readonly response: string;
  /** Public id of the message in the outbox. */
  readonly id: string;
}

/**
 * The options of `sendMail` over this transport. nodemailer types only its own fields, so
 * TypeScript accepts the others through a variable: `const mail: PostbagMailOptions = { … };
 * sendMail(mail)`.
 */
export type PostbagMailOptions = SendMailOptions & Pick<Mail, Setting> & Pick<EnqueueOptions, "tx">;

type Setting = (typeof settings)[number];

const settings = [
  "sendAt",
  "expiresAt",
  "idempotencyKey",
  "template",
  "tags",
  "doubt",
  "lane",
] as const;

/**
 * The fields of a mail by which a repeat of its idempotency key is recognised; fields that
 * nodemailer adds are left out.
 */
const request = [
  ...["from", "sender", "to", "cc", "bcc", "replyTo", "inReplyTo", "references", "subject", "text"],
  ...["html", "amp", "icalEvent", "alternatives", "attachments", "headers", "list", "priority"],
  ...["envelope", "messageId", "raw", ...settings.filter((name) => name !== "idempotencyKey")],
];

/**
 * Makes the transport. Beside nodemailer's own fields `sendMail` accepts `sendAt`, `expiresAt`,
 * `idempotencyKey`, `template`, `tags`, `doubt`, `lane` and `tx`, as `outbox.enqueue` does.
 */
export function postbagTransport(outbox: Outbox): Transport<PostbagInfo> {
  return {
    name: "postbag",
    version: "1",
    send(mail, callback) {
      const data = mail.data as unknown as Record<string, unknown>;
      const only = (names: readonly string[]) =>
        Object.fromEntries(names.map((name) => [name, data[name]]));
      const { tx } = data as EnqueueOptions;
      enqueue().then(
        (info) => callback(null, info),
        (error: Error) => callback(error as Parameters<typeof callback>[0]),
      );

      async function enqueue(): Promise<PostbagInfo> {
        const { from, to } = mail.message.getEnvelope();
        if (to.length === 0)
          throw new OutboxError(
            "ERR_OUTBOX_MAIL",
            "The mail has no recipient; nothing was enqueued.",
          );
        mail.message.keepBcc = false;
        mail.message.messageId(); // Sets the Message-ID before the bytes are made.
        const raw = await mail.message.build();
        const { id, messageId } = await outbox.enqueue(
          { raw, envelope: { from: from || "", to }, ...only(settings) },
          { tx, requests: [only(request)] },
        );
        return {
          id,
          messageId,
          envelope: { from, to },
          accepted: to,
          rejected: [],
          pending: [],
          response: `250 2.0.0 queued as ${id}`,
        };
      }
    },
  };
}
