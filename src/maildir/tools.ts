/** What a delivery is, what comes of it, and what carrying it out needs. */
import type { Clock, FileSystem, SyncFileSystem } from "../system/index.ts";
import type { Body } from "./body.ts";
import type { MaildirError } from "./errors.ts";
import type { KnownMailboxes } from "./mailbox.ts";
import type { MessageId, NameSource } from "./name.ts";

/** One message for one mailbox. */
export interface Delivery {
  /** The mailbox: the directory that holds, or will hold, `new/`, `cur/` and `tmp/`. */
  readonly maildir: string;
  readonly body: Body;
  /** Letters such as `"FS"`; with any, the message goes to `cur/` instead of `new/`. */
  readonly flags?: string;
  /** Becomes the file's modification time, which IMAP shows as INTERNALDATE. @defaultValue now */
  readonly receivedAt?: Date;
  /** A name already drawn from a {@link NameSource}, when another thread gives out the names. */
  readonly id?: MessageId;
}

export type DeliveryResult =
  | { readonly ok: true; readonly id: MessageId }
  | { readonly ok: false; readonly error: MaildirError };

/**
 * Chooses how `count` files (phase `"data"`) or directories (`"names"`) of one file system are flushed:
 * each on its own, or all by one flush of the file system.
 */
export type SyncPlan = (phase: "data" | "names", count: number) => "each" | "bulk";

export interface DeliverTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly names: NameSource;
  readonly known: KnownMailboxes;
  /** The mail root; below it no symbolic link is followed, and up to it directories are flushed. */
  readonly root?: string | undefined;
  /**
   * Flushes the file system a mailbox lies on. Its descriptor must be older than the batch, or an
   * error of a write-back could have been reported to somebody else.
   */
  readonly syncFileSystem?: SyncFileSystem;
  /** Asked only when there is a `syncFileSystem`. @defaultValue always `"bulk"` */
  readonly syncPlan?: SyncPlan;
}
