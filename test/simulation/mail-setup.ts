/** Shared by the simulations of mail: the mailboxes, the disk, and the messages. */
import type { Delivery } from "../../src/maildir/index.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { SimDisk } from "../support/sim-disk/disk.ts";
import type { NameOrder } from "../support/sim-disk/mount.ts";
import type { MailExpectations } from "./mail-expectations.ts";

export const mailRoot = "/mail";
export const mailboxes = ["/mail/a.example/ann", "/mail/a.example/bob", "/mail/b.example/cid"];
/** Where the second file system is mounted, if there is one; it holds cid's mailbox. */
export const secondVolume = "/mail/b.example";
const spoolFile = "/mail/spooled";
const spooledBytes = 1200;

export interface MailDiskOptions {
  /** Which unflushed names a cut may leave: any, as on btrfs, or the first ones only. */
  readonly names?: NameOrder;
  readonly secondFileSystem?: boolean;
}

/** A disk with a mail root and a spool file, and no mailbox yet. */
export function mailDisk(random: SeededRandom, options: MailDiskOptions): SimDisk {
  const disk = new SimDisk(random, options.names ?? "any");
  disk.furnish(mailRoot);
  disk.furnishFile(spoolFile, new Uint8Array(spooledBytes).fill(115));
  if (options.secondFileSystem) disk.furnish(secondVolume, 2);
  return disk;
}

/** A random message for a random mailbox; a plain one for a `chosen` mailbox. */
export function draw(
  expectations: MailExpectations,
  random: SeededRandom,
  chosen?: string,
): Delivery {
  const maildir = chosen ?? mailboxes[random.below(mailboxes.length)]!;
  const text = expectations.nextText(random);
  const spooled = chosen === undefined && random.below(8) === 0;
  const delivery: Delivery = {
    maildir,
    body: spooled ? { head: text, file: spoolFile, size: text.length + spooledBytes } : text,
    ...(chosen === undefined && random.below(5) === 0 ? { flags: "S" } : {}),
    ...(random.below(5) === 0 ? { receivedAt: new Date(1_600_000_000_000) } : {}),
  };
  expectations.sent(
    delivery,
    spooled ? Buffer.concat([text, Buffer.alloc(spooledBytes, 115)]) : text,
  );
  return delivery;
}
