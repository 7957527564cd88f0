/**
 * One message on its way through the commit: where it is to go, and what became of it so far.
 *
 * A letter that has a `failure` is left alone by every later phase.
 */
import { join } from "node:path";
import { inspect } from "node:util";
import { type Body, bodySizes, isBody } from "./body.ts";
import { MaildirError, type MaildirErrorCode } from "./errors.ts";
import { areFlags, parseFlags, serializeFlags } from "./flags.ts";
import type { Mailbox } from "./mailbox.ts";
import { isMessageId, joinName, type MessageId } from "./name.ts";
import type { DeliverTools, Delivery, DeliveryResult } from "./tools.ts";

export interface PendingDelivery {
  readonly id: MessageId;
  readonly body: Body;
  readonly receivedAt: Date | undefined;
  readonly maildir: string;
  /** Its place once it is visible, below the mailbox. */
  readonly subdirectory: "new" | "cur";
  readonly fileName: string;
  /** The file it is written to, while it has one. */
  draft: string | undefined;
  failure: MaildirError | undefined;
}

/** The letters of one batch for one mailbox, as a postman ties them. */
export interface MailboxBatch {
  readonly mailbox: Mailbox;
  readonly letters: readonly PendingDelivery[];
}

/** Fixes the name of a message for good: every later attempt uses the same one. */
export function pendingDelivery(
  delivery: Delivery,
  tools: Pick<DeliverTools, "names">,
): PendingDelivery {
  const complaint = complaintAbout(delivery);
  if (complaint !== undefined) return refusedLetter(delivery, complaint);
  const { body, flags = "", receivedAt, maildir } = delivery;
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

/** A delivery that makes no sense: it fails by itself, and the rest of the batch goes on. */
function refusedLetter({ body, maildir }: Delivery, complaint: string): PendingDelivery {
  const letter: PendingDelivery = {
    id: "",
    body,
    receivedAt: undefined,
    maildir,
    subdirectory: "new",
    fileName: "",
    draft: undefined,
    failure: undefined,
  };
  fail(letter, "ERR_MAILDIR_INVALID_ARGUMENT", complaint);
  return letter;
}

function complaintAbout(delivery: Delivery): string | undefined {
  const { maildir, body, flags = "", receivedAt, id = "none" } = delivery;
  if (typeof maildir !== "string" || maildir === "") {
    return `maildir must be a path, received ${inspect(maildir)}`;
  }
  if (!isBody(body)) {
    return `body must be a Uint8Array or { head, file, size }, received ${inspect(body)}`;
  }
  if (!areFlags(flags)) return `flags must be letters, received ${inspect(flags)}`;
  if (receivedAt !== undefined && Number.isNaN(receivedAt.getTime())) {
    return `receivedAt must be a valid date, received ${inspect(receivedAt)}`;
  }
  if (!isMessageId(id)) return `id must be a file name without flags, received ${inspect(id)}`;
  return undefined;
}

/** Notes why a letter is not delivered; the first reason stands. */
export function fail(
  letter: PendingDelivery,
  code: MaildirErrorCode,
  message: string,
  facts: {
    readonly path?: string | undefined;
    readonly cause?: unknown;
    readonly mayRemain?: boolean;
  } = {},
): void {
  letter.failure ??= new MaildirError(code, message, facts);
}

export function notFailed(letters: readonly PendingDelivery[]): PendingDelivery[] {
  return letters.filter((letter) => letter.failure === undefined);
}

/** Where the finished file goes. */
export function targetOf(letter: PendingDelivery, mailbox: Mailbox): string {
  return join(mailbox[letter.subdirectory], letter.fileName);
}

export function resultOf(letter: PendingDelivery): DeliveryResult {
  return letter.failure ? { ok: false, error: letter.failure } : { ok: true, id: letter.id };
}
