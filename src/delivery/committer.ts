/**
 * The contract between the executor and the committer of its batches. A committer works in the
 * executor's thread or, as thread/start-disk-thread.ts, in a disk thread.
 */
import type { Delivery, DeliveryResult } from "../maildir/index.ts";

/** Result of one message: durable, and visible unless `unpublished`; or not stored (`error`). */
export type CommitResult = DeliveryResult & { readonly unpublished?: boolean };

/**
 * Commits batches: one result for each delivery, in order. When the promise resolves, each message
 * whose result is `ok` is durable.
 */
export interface Committer {
  commit(deliveries: readonly Delivery[]): Promise<readonly CommitResult[]>;
  close(): Promise<void>;
  /** Present when batches are committed through a journal. */
  readonly journal?: JournalView | undefined;
}

/** State of a journal: with one, messages may be durable before they are visible. */
export interface JournalView {
  /** What recovery did when the journal was opened. */
  readonly recovered: RecoveryReport;
  /** Whether the journal takes new mail; false after its own disk refused a write twice. */
  readonly accepting: boolean;
  /** Messages that are durable and not yet visible. */
  readonly unpublished: number;
  /** How long the oldest unpublished message has been durable, in milliseconds; 0 without one. */
  readonly oldestUnpublishedMs: number;
  /**
   * Resolves when a message is visible in its mailbox; at once for an id that is not unpublished.
   * @throws {DeliveryError} ERR_DELIVERY_ORPHANED; ERR_DELIVERY_CLOSED when the thread ends first
   */
  published(id: string): Promise<void>;
}

/** A journal's options with their defaults, as the disk thread gets them from the executor. */
export interface JournalSettings {
  readonly directory: string;
  /** Longest time from durable to visible under load, in milliseconds; when idle, no wait. */
  readonly publishWithinMs: number;
  /** Maximum of bytes on the volumes of messages that are acknowledged and not yet published. */
  readonly maxBacklogBytes: number;
  /** Longest wait of a batch for room in the backlog, in milliseconds. */
  readonly maxBacklogWaitMs: number;
  readonly segmentBytes?: number | undefined;
  readonly maxSegments?: number | undefined;
}

/** What a committer with a journal reports, in the order in which it happens. */
export type CommitterEvent =
  /** These messages are in their mailboxes, durably. */
  | { readonly kind: "published"; readonly ids: readonly string[] }
  /** These messages could not be published and are in the Maildir `orphans`, durably. */
  | {
      readonly kind: "orphaned";
      readonly ids: readonly string[];
      readonly mailboxes: readonly string[];
      readonly orphans: string;
      readonly reason: string;
    }
  /** The volume at `directory` takes no new mail; without a `reason` it takes mail again. */
  | { readonly kind: "publishing"; readonly directory: string; readonly reason: string | undefined }
  /** The journal takes no new mail after its disk refused a write twice; or it takes mail again. */
  | { readonly kind: "accepting"; readonly accepting: boolean }
  /** A volume that was not available at the start has been recovered. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport };

/** What recovery did, in numbers of messages. */
export interface RecoveryReport {
  /** Not durable in staging: written there again from the journal, and published. */
  readonly restored: number;
  /** Durable in staging: published; or in its mailbox too, then only removed from staging. */
  readonly finished: number;
  /** Published before; readers may have moved or deleted these messages since. */
  readonly skipped: number;
  /** Files in staging that the journal does not mention: removed; set aside if it is damaged. */
  readonly swept: number;
  /** What is wrong with the journal, in plain words. */
  readonly damage: readonly string[];
  /**
   * Volumes (file systems of mailboxes) not recovered yet: their mail waits, new mail for them
   * fails.
   */
  readonly unavailable: readonly { readonly directory: string; readonly reason: string }[];
}
