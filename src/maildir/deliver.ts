/**
 * The synced commit: messages for any number of mailboxes are visible and durable when it returns.
 *
 * 1 write every message in `tmp/`; 2 flush the data of every file; 3 rename all into `new/` (with flags:
 * `cur/`); 4 flush the names in `new/`, then in `tmp/`. Between 2 and 3 lies D2: nothing becomes visible
 * that a power cut could still empty. After 4 lies D1. A message or mailbox that fails fails alone.
 *
 * States, windows and assumptions: docs/explanation/durability.md.
 */
import { MaildirError } from "./errors.ts";
import { type Mailbox, prepareMailbox } from "./mailbox.ts";
import {
  fail,
  type MailboxBatch,
  notFailed,
  type PendingDelivery,
  pendingDelivery,
  resultOf,
} from "./pending-delivery.ts";
import { publish } from "./rename.ts";
import type { DeliverTools, Delivery, DeliveryResult } from "./tools.ts";
import { syncData } from "./write.ts";

/**
 * Commits deliveries to any number of mailboxes as one batch, and answers in input order.
 *
 * On return every message with `ok: true` is in its mailbox and survives a power cut; every other one
 * is not, unless its error says `mayRemain`. Never rejects for a fault of the disk.
 */
export async function deliverAll(
  deliveries: readonly Delivery[],
  tools: DeliverTools,
): Promise<readonly DeliveryResult[]> {
  const letters = deliveries.map((delivery) => pendingDelivery(delivery, tools));
  const bundles = bundle(letters, tools);
  await syncData(bundles, tools);
  await publish(bundles, tools);
  return letters.map(resultOf);
}

/** Ties up the letters for each mailbox whose directories are there. */
function bundle(letters: readonly PendingDelivery[], tools: DeliverTools): MailboxBatch[] {
  const byMailbox = Map.groupBy(notFailed(letters), (letter) => letter.maildir);
  return [...byMailbox].flatMap(([path, ofMailbox]) => {
    const mailbox = preparedOrRefused(path, ofMailbox, tools);
    return mailbox ? [{ mailbox, letters: ofMailbox }] : [];
  });
}

function preparedOrRefused(
  path: string,
  letters: readonly PendingDelivery[],
  tools: DeliverTools,
): Mailbox | undefined {
  try {
    return prepareMailbox(path, tools);
  } catch (error) {
    if (!(error instanceof MaildirError)) throw error;
    for (const letter of letters) fail(letter, error.code, error.message, error);
    return undefined;
  }
}
