/** The mail that the outbox benches carry: ready-made, all ASCII, no two alike. */
import { createHash } from "node:crypto";
import { type Message, messageFromBytes } from "../../src/mail/index.ts";
import { type NewMessage, uuidv7 } from "../../src/outbox/index.ts";

/** As a job queue keeps it: plain data. */
export interface BenchMail {
  /** Unique; an idempotency key, job key or id, whatever a system calls it. */
  readonly key: string;
  readonly from: string;
  readonly to: string;
  readonly raw: string;
}

/** All of it goes one way, to one relay. */
export const benchRoute = "relay";

const line = `${"Letters that arrive together travel in one bag. ".padEnd(76, "x")}\r\n`;

/** Makes a mail of exactly so many octets. */
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
  // Through a buffer, so that nobody's first use of it pays for joining the pieces.
  const raw = Buffer.from(`${header}${body}\r\n`, "latin1").toString("latin1");
  return { key, from: "post@sender.example", to: "somebody@receiver.example", raw };
}

/** The same as the outbox's store takes it; with an idempotency key where asked for. */
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

/** The same as a sender takes it. */
export function messageOf(raw: string): Message {
  const bytes = Buffer.from(raw, "latin1");
  return messageFromBytes(bytes);
}
