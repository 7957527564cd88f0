/**
 * One message on its way through the commit: its target, and its failure if it has one.
 *
 * Every later phase passes over a delivery that has a `failure`.
 */
import { join } from "node:path";
import { type Body, bodySizes, isBody } from "./body.ts";
import { MaildirError, type MaildirErrorCode, type MaildirErrorFacts, refusal } from "./errors.ts";
import { areFlags, parseFlags, serializeFlags } from "./flags.ts";
import type { Mailbox } from "./mailbox.ts";
import { isMessageId, joinName, type MessageId } from "./name.ts";
import type { DeliverTools, Delivery, DeliveryResult } from "./tools.ts";

export interface PendingDelivery {
  readonly id: MessageId;
  readonly body: Body;
  readonly receivedAt: Date | undefined;
  readonly maildir: string;
  /** The directory of the mailbox in which the message becomes visible. */
  readonly subdirectory: "new" | "cur";
  readonly fileName: string;
  /** Path of the file in `tmp/`, while there is one. */
  draft: string | undefined;
  failure: MaildirError | undefined;
}

/** The deliveries of one batch to one mailbox. */
export interface MailboxBatch {
  readonly mailbox: Mailbox;
  readonly deliveries: readonly PendingDelivery[];
}

/**
 * Fixes the name of a message for good: every later attempt uses the same one. A delivery with an
 * invalid argument has failed from the start, and the rest of the batch goes on.
 */
export function pendingDelivery(
  delivery: Delivery,
  tools: Pick<DeliverTools, "names">,
): PendingDelivery {
  const { body, flags = "", receivedAt, maildir } = delivery;
  const failure = failureOf(delivery);
  if (failure !== undefined) {
    const target = { subdirectory: "new", id: "", fileName: "" } as const;
    return { ...target, body, maildir, receivedAt: undefined, draft: undefined, failure };
  }
  const { size, crlfSize } = bodySizes(body);
  const id = delivery.id ?? tools.names.next(size, crlfSize);
  return {
    id,
    body,
    receivedAt,
    maildir,
    subdirectory: flags === "" ? "new" : "cur",
    fileName: flags === "" ? id : joinName(id, serializeFlags(parseFlags(flags))),
    draft: undefined,
    failure: undefined,
  };
}

/** Checks a delivery, for callers without types. */
function failureOf(delivery: Delivery): MaildirError | undefined {
  const { maildir, body, flags = "", receivedAt, id = "none" } = delivery;
  if (typeof maildir !== "string" || maildir === "") return refusal("maildir", "a path", maildir);
  if (!isBody(body)) return refusal("body", "a Uint8Array or { head, file, size }", body);
  if (!areFlags(flags)) return refusal("flags", "letters", flags);
  if (receivedAt !== undefined && Number.isNaN(receivedAt.getTime())) {
    return refusal("receivedAt", "a valid Date", receivedAt);
  }
  return isMessageId(id) ? undefined : refusal("id", "a file name without flags", id);
}

/** Sets the failure of a delivery; the first one stands. */
export function fail(
  delivery: PendingDelivery,
  code: MaildirErrorCode,
  message: string,
  facts: MaildirErrorFacts = {},
): void {
  delivery.failure ??= new MaildirError(code, message, facts);
}

export function notFailed(deliveries: readonly PendingDelivery[]): PendingDelivery[] {
  return deliveries.filter((delivery) => delivery.failure === undefined);
}

/** Path of the message once it is visible. */
export function targetOf(delivery: PendingDelivery, mailbox: Mailbox): string {
  return join(mailbox[delivery.subdirectory], delivery.fileName);
}

export function resultOf({ id, failure }: PendingDelivery): DeliveryResult {
  return failure ? { ok: false, error: failure } : { ok: true, id };
}
