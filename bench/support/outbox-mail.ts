/** Makes the mails of the outbox benches: whole messages in ASCII, each with another content. */
import { createHash } from "node:crypto";
import { type Message, messageFromBytes } from "../../src/mail/index.ts";
import { type NewMessage, uuidv7 } from "../../src/outbox/index.ts";

/** A mail as plain data, the form in which a job queue stores it. */
export interface BenchMail {
  /** Unique; a system uses it as idempotency key, job key or id. */
  readonly key: string;
  readonly from: string;
  readonly to: string;
  readonly raw: string;
}

/** The route of all mail of a bench: one relay. */
export const benchRoute = "relay";

const line = `${"Letters that arrive together travel in one bag. ".padEnd(76, "x")}\r\n`;

/** Makes a mail whose message has exactly `bytes` bytes. */
export function benchMail(bytes: number): BenchMail {
  const key = uuidv7(Date.now());
  const header = [
    "From: Post Office <post@sender.example>",
    "To: Somebody <somebody@receiver.example>",
    "Subject: a letter",
    `Message-ID: <${key}@sender.example>`,
    "Date: Sun, 22 Nov 2026 12:00:00 +0000",
    "\r\n",
  ].join("\r\n");
  const body = line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes - header.length - 2);
  // By way of a buffer, so that the string is flat and no bench measures the join of its pieces.
  const raw = Buffer.from(`${header}${body}\r\n`, "latin1").toString("latin1");
  return { key, from: "post@sender.example", to: "somebody@receiver.example", raw };
}

/** The mail as the argument of the outbox store's `enqueue`, with or without idempotency key. */
export function newMessage({ key, from, to, raw }: BenchMail, withKey: boolean): NewMessage {
  const day = 24 * 60 * 60 * 1000;
  return {
    id: key,
    reversePath: from,
    bytes: Buffer.from(raw, "latin1"),
    messageIdHeader: `<${key}@sender.example>`,
    subject: "a letter",
    doubt: "resend",
    lane: "normal",
    expireAfterMs: 5 * day,
    deliveries: [{ route: benchRoute, recipients: [{ address: to, kind: "to" }] }],
    ...(withKey && {
      idempotency: {
        scope: "bench",
        key,
        contentSha256: createHash("sha256").update(raw).digest(),
        keepMs: 7 * day,
      },
    }),
  };
}

/** The raw message as the argument of a sender. */
export function messageOf(raw: string): Message {
  const bytes = Buffer.from(raw, "latin1");
  return messageFromBytes(bytes);
}
