/**
 * The process that delivers mail onto the disk under test, and says what was acknowledged when.
 *
 * Several callers deliver at once, half of the mail into four mailboxes and half into mailboxes that
 * come into being on the way. An acknowledgement leaves the disk's world at once: one JSON line on
 * standard output, stamped on the machine's monotonic clock after `deliver` resolved, so it can never
 * claim to be earlier than it was.
 *
 * Argument: {@link Load} as JSON.
 */
import { join } from "node:path";
import { nowNs } from "../support/recorded-disk/index.ts";
import { messageBody } from "./messages.ts";
import { type Method, openMethod } from "./methods.ts";

export interface Load {
  readonly method: Method;
  /** The mail root, on the disk under test. */
  readonly root: string;
  readonly seed: number;
  readonly messages: number;
  readonly callers: number;
  /** Messages that one caller hands over together. */
  readonly together: number;
}

export interface Acknowledgement {
  readonly serial: number;
  /** The mailbox below the mail root. */
  readonly mailbox: string;
  /** The file name in `new/`. */
  readonly id: string;
  readonly atNs: number;
}

function mailboxOf(serial: number): string {
  return serial % 2 === 0 ? `steady${(serial / 2) % 4}` : `fresh${Math.floor(serial / 12)}`;
}

async function deliverAll(load: Load): Promise<void> {
  await using method = await openMethod(load.method);
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < load.messages) {
      const first = next;
      next += load.together;
      const mailbox = mailboxOf(first);
      const serials = Array.from({ length: load.together }, (_, index) => first + index);
      const bodies = serials.map((serial) => messageBody(load.seed, serial));
      const ids = await method.deliver(join(load.root, mailbox), bodies);
      const atNs = nowNs();
      const lines = serials.map((serial, index): Acknowledgement => {
        return { serial, mailbox, id: ids[index]!, atNs };
      });
      process.stdout.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    }
  };
  await Promise.all(Array.from({ length: load.callers }, caller));
}

await deliverAll(JSON.parse(process.argv[2]!));
