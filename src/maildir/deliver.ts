/**
 * The synced commit: messages for any number of mailboxes are visible and durable when it returns.
 *
 * 1 write every message in `tmp/`; 2 flush the data of every file; 3 rename all into `new/` (with
 * flags: `cur/`); 4 flush the names in `new/`, then in `tmp/`. Between 2 and 3 lies D2: no
 * message becomes visible that a power cut could still empty. After 4 lies D1. A message or
 * mailbox that fails fails alone. States, windows and assumptions:
 * docs/explanation/durability.md.
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
import { renameDurably } from "./rename.ts";
import type { DeliverTools, Delivery, DeliveryResult } from "./tools.ts";
import { writeDurably } from "./write.ts";

/**
 * Commits deliveries to any number of mailboxes as one batch, and answers in input order.
 *
 * On return every message with `ok: true` is in its mailbox and survives a power cut; every other
 * one is not, unless its error says `mayRemain`. Never rejects for an error of the disk.
 */
export async function deliverAll(
  deliveries: readonly Delivery[],
  tools: DeliverTools,
): Promise<readonly DeliveryResult[]> {
  const pending = deliveries.map((delivery) => pendingDelivery(delivery, tools));
  const batches = batchesOf(pending, tools);
  await writeDurably(batches, tools);
  await renameDurably(batches, tools);
  return pending.map(resultOf);
}

/** Groups the deliveries by mailbox; those to a mailbox that cannot be used fail. */
function batchesOf(pending: readonly PendingDelivery[], tools: DeliverTools): MailboxBatch[] {
  const byMailbox = Map.groupBy(notFailed(pending), ({ maildir }) => maildir);
  return [...byMailbox].flatMap(([path, deliveries]) => {
    const mailbox = preparedOrFailed(path, deliveries, tools);
    return mailbox ? [{ mailbox, deliveries }] : [];
  });
}

function preparedOrFailed(
  path: string,
  deliveries: readonly PendingDelivery[],
  tools: DeliverTools,
): Mailbox | undefined {
  try {
    return prepareMailbox(path, tools);
  } catch (error) {
    if (!(error instanceof MaildirError)) throw error;
    for (const delivery of deliveries) fail(delivery, error.code, error.message, error);
    return undefined;
  }
}
