/** A delivery, its result, and the tools of a commit. */
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
  readonly flags?: string | undefined;
  /** Becomes the file's modification time, which IMAP shows as INTERNALDATE. @defaultValue now */
  readonly receivedAt?: Date | undefined;
  /** A name from a {@link NameSource} of another thread. @defaultValue a new name */
  readonly id?: MessageId | undefined;
}

export type DeliveryResult =
  | { readonly ok: true; readonly id: MessageId }
  | { readonly ok: false; readonly error: MaildirError };

/**
 * Chooses how `count` files (phase `"data"`) or directories (`"names"`) of one file system are
 * flushed: each on its own, or all by one flush of the file system.
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
   * Flushes the file system of a mailbox. Its descriptor must be older than the batch, or an
   * error of a write-back could have been reported to another descriptor. @defaultValue none:
   * file by file
   */
  readonly syncFileSystem?: SyncFileSystem | undefined;
  /** Used only with a `syncFileSystem`. @defaultValue always `"bulk"` */
  readonly syncPlan?: SyncPlan | undefined;
}
