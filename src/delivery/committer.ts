/**
 * The contract between the executor and the committer of its batches, in this thread or in its own.
 */
import type { Delivery, DeliveryResult } from "../maildir/index.ts";

/** Result of one message: durable, and visible unless `unpublished`; or refused. */
export type CommitResult = DeliveryResult & { readonly unpublished?: boolean };

/** Commits batches: one result per delivery, in order, each durable when the promise resolves. */
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
  /** Whether the journal takes new mail; false after its own disk refused writes. */
  readonly accepting: boolean;
  /** Messages that are durable and not yet visible. */
  readonly unpublished: number;
  /** How long the oldest of them has been durable, in milliseconds; 0 without one. */
  readonly oldestUnpublishedMs: number;
  /**
   * Resolves when a message is in its mailbox.
   * @throws {DeliveryError} ERR_DELIVERY_ORPHANED, _CLOSED
   */
  published(id: string): Promise<void>;
}

export interface JournalSettings {
  readonly directory: string;
  /** Longest time from durable to visible under load, in milliseconds; no wait when idle. */
  readonly publishWithinMs: number;
  /** Maximum of bytes acknowledged and not yet published. */
  readonly maxBacklogBytes: number;
  /** Longest wait of a batch for room in the backlog, in milliseconds. */
  readonly maxBacklogWaitMs: number;
  readonly segmentBytes?: number | undefined;
  readonly maxSegments?: number | undefined;
}

export type CommitterEvent =
  /** These are in their mailboxes, durably. */
  | { readonly kind: "published"; readonly ids: readonly string[] }
  /** These could not be published and are in the Maildir `orphans`, durably. */
  | {
      readonly kind: "orphaned";
      readonly ids: readonly string[];
      readonly mailboxes: readonly string[];
      readonly orphans: string;
      readonly reason: string;
    }
  /** The volume at `directory` takes no mail for now; without a `reason` it takes mail again. */
  | { readonly kind: "publishing"; readonly directory: string; readonly reason: string | undefined }
  /** The journal takes no mail because its disk refused two writes; or it takes mail again. */
  | { readonly kind: "accepting"; readonly accepting: boolean }
  /** A volume that was not available at the start has been recovered. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport };

/** What recovery did, in numbers of messages. */
export interface RecoveryReport {
  /** Staged again from the journal and published. */
  readonly restored: number;
  /** Staged already: published, or a left-over name removed. */
  readonly finished: number;
  /** Published already; readers may have moved or deleted them since. */
  readonly skipped: number;
  /** Files in staging that the journal does not mention: removed, or set aside if it is damaged. */
  readonly swept: number;
  /** What is wrong with the journal, in plain words. */
  readonly damage: readonly string[];
  /** Volumes that are not served yet, by their directory, and why. */
  readonly unavailable: readonly { readonly directory: string; readonly reason: string }[];
}
