/**
 * The process that delivers mail onto the disk under test, and says what was acknowledged when.
 *
 * Several callers deliver at once, half of the mail into four mailboxes and half into mailboxes that
 * come into being on the way. A reader moves some of it from `new/` to `cur/` and deletes some, without
 * syncing anything, as readers do. What happened leaves the disk's world at once: one JSON line on
 * standard output, stamped on the machine's monotonic clock, an acknowledgement *after* `deliver`
 * resolved and a removal *before* it is tried, so that neither claims more than was so at its instant.
 *
 * Argument: {@link Load} as JSON.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { nowNs } from "../support/recorded-disk/index.ts";
import { mailDirectory } from "./check.ts";
import { messageBody } from "./messages.ts";
import { type Method, openMethod } from "./methods.ts";

export interface Load {
  readonly method: Method;
  /** The root of the file system under test. */
  readonly disk: string;
  readonly seed: number;
  readonly messages: number;
  readonly callers: number;
  /** Messages that one caller hands over together. */
  readonly together: number;
}

export interface Acknowledgement {
  readonly kind: "acknowledged";
  readonly serial: number;
  /** The mailbox below the mail root. */
  readonly mailbox: string;
  /** The file name in `new/`, when the way of delivering tells it. */
  readonly id?: string;
  readonly atNs: number;
}

/** A reader is about to delete a message. */
export interface Removal {
  readonly kind: "removed";
  readonly serial: number;
  readonly atNs: number;
}

function mailboxOf(serial: number): string {
  return serial % 2 === 0 ? `steady${(serial / 2) % 4}` : `fresh${Math.floor(serial / 12)}`;
}

function say(lines: readonly (Acknowledgement | Removal)[]): void {
  process.stdout.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

function readSome(root: string, mail: readonly Acknowledgement[]): void {
  for (const { serial, mailbox, id } of mail) {
    if (id === undefined) continue;
    const path = join(root, mailbox, "new", id);
    if (serial % 16 === 3) {
      say([{ kind: "removed", serial, atNs: nowNs() }]);
      rmSync(path);
    } else if (serial % 4 === 1) {
      renameSync(path, join(root, mailbox, "cur", `${id}:2,S`));
    }
  }
}

async function deliverTheMail(load: Load): Promise<void> {
  const { disk, seed, messages, together } = load;
  const root = join(disk, mailDirectory);
  mkdirSync(root, { recursive: true });
  await using method = await openMethod(load.method, disk);
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < messages) {
      const first = next;
      next += together;
      const mailbox = mailboxOf(first);
      const serials = Array.from({ length: together }, (_, index) => first + index);
      const bodies = serials.map((serial) => messageBody(seed, serial));
      const ids = await method.deliver(join(root, mailbox), bodies);
      const atNs = nowNs();
      const acknowledged = serials.map((serial, index): Acknowledgement => {
        const id = ids[index];
        return { kind: "acknowledged", serial, mailbox, ...(id && { id }), atNs };
      });
      say(acknowledged);
      readSome(root, acknowledged);
    }
  };
  await Promise.all(Array.from({ length: load.callers }, caller));
}

await deliverTheMail(JSON.parse(process.argv[2]!));
