/**
 * The process that delivers mail onto the disk under test, and prints each acknowledgement; started
 * by record-run.ts.
 *
 * Several callers deliver at once, half of the mail into four mailboxes and half into mailboxes
 * that the delivery creates, while a reader (reader.ts) moves and deletes messages. Each event is
 * printed at once as a JSON line on standard output (events.ts).
 *
 * Argument: {@link Load} as JSON.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { nowNs } from "../../support/recorded-disk/index.ts";
import { mailDirectory } from "./check.ts";
import { type Acknowledgement, print } from "./events.ts";
import type { Places } from "./journal-places.ts";
import { messageBody } from "./messages.ts";
import { type Method, openMethod } from "./methods.ts";
import { startReader } from "./reader.ts";

export interface Load extends Places {
  readonly method: Method;
  readonly seed: number;
  /** Number of the first message. */
  readonly first: number;
  /** How many messages to deliver. */
  readonly messages: number;
  readonly callers: number;
  /** How many messages a caller delivers in one call. */
  readonly together: number;
}

function mailboxOf(serial: number): string {
  return serial % 2 === 0 ? `steady${(serial / 2) % 4}` : `fresh${Math.floor(serial / 12)}`;
}

async function deliverTheMail(load: Load): Promise<void> {
  const { seed, first, messages, together } = load;
  const root = join(load.disk, mailDirectory);
  mkdirSync(root, { recursive: true });
  await using method = await openMethod(load.method, load);
  print({ kind: "opened", first, atNs: nowNs() });
  const reader = startReader(root, seed);
  let next = first;
  const settle = async ({ serial, id }: Acknowledgement): Promise<void> => {
    if (id === undefined) return;
    await method.settled(id);
    print({ kind: "settled", serial, atNs: nowNs() });
  };
  const caller = async (): Promise<void> => {
    const settling: Promise<void>[] = [];
    while (next < first + messages) {
      const start = next;
      next += together;
      const mailbox = mailboxOf(start);
      const serials = Array.from({ length: together }, (_, index) => start + index);
      const bodies = serials.map((serial) => messageBody(seed, serial));
      const ids = await method.deliver(join(root, mailbox), bodies);
      const atNs = nowNs();
      const acknowledged = serials.map((serial, index): Acknowledgement => {
        const id = ids[index];
        return { kind: "acknowledged", serial, mailbox, id, atNs };
      });
      print(...acknowledged);
      settling.push(...acknowledged.map(settle));
    }
    await Promise.all(settling);
  };
  await Promise.all(Array.from({ length: load.callers }, caller));
  await reader.stop();
}

await deliverTheMail(JSON.parse(process.argv[2]!));
