/**
 * What the executor and whoever carries out its batches agree on, in this thread or in one of its own.
 */
import type { Delivery, DeliveryResult } from "../maildir/index.ts";

/** What became of one message: durable, and visible unless it says otherwise; or refused. */
export type CommitResult = DeliveryResult & { readonly unpublished?: boolean };

/** Commits batches: one result per delivery, in order, each durable when the promise resolves. */
export interface Disk {
  commit(deliveries: readonly Delivery[]): Promise<readonly CommitResult[]>;
  close(): Promise<void>;
  /** Present when batches are committed through a journal. */
  readonly journal?: JournalView;
}

/** What a journal adds: messages may be durable before they are visible. */
export interface JournalView {
  /** What recovery found and did when the disk was started. */
  readonly recovered: RecoveryReport;
  /** Whether the journal takes new mail: not after its own disk has refused writes. */
  readonly accepting: boolean;
  /** Messages durable and not yet visible. */
  readonly unpublished: number;
  /** How long the first of them has been durable, in milliseconds; 0 when there is none. */
  readonly oldestUnpublishedMs: number;
  /** Resolves when a message is in its mailbox. @throws {DeliveryError} ERR_DELIVERY_ORPHANED, _CLOSED */
  published(id: string): Promise<void>;
}

export interface JournalSettings {
  readonly directory: string;
  /** Longest time from durable to visible under load, in milliseconds; at once when idle. */
  readonly publishWithinMs: number;
  /** Most octets acknowledged and not yet published. */
  readonly maxBacklogBytes: number;
  /** Longest wait of a batch for room in the backlog, in milliseconds. */
  readonly maxBacklogWaitMs: number;
  readonly segmentBytes?: number;
  readonly maxSegments?: number;
}

export type JournalDiskEvent =
  /** These are in their mailboxes, durably. */
  | { readonly kind: "published"; readonly ids: readonly string[] }
  /** These could not be published and are kept, durably, in the Maildir `orphans`. */
  | {
      readonly kind: "orphaned";
      readonly ids: readonly string[];
      readonly mailboxes: readonly string[];
      readonly orphans: string;
      readonly reason: string;
    }
  /** Mail cannot be published at `home` for now, or can again when `reason` is missing. */
  | { readonly kind: "publishing"; readonly home: string; readonly reason: string | undefined }
  /** The journal's disk refused two writes, so that no mail is taken; or it works again. */
  | { readonly kind: "accepting"; readonly accepting: boolean }
  /** A mail file system that was not available at the start has been recovered. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport };

/** What recovery found and did, in numbers of messages. */
export interface RecoveryReport {
  /** Staged again from the journal and published. */
  readonly restored: number;
  /** Were staged already: published, or a left-over name removed. */
  readonly finished: number;
  /** Were published already; what became of them since is the reader's business. */
  readonly skipped: number;
  /** Files in staging that the journal does not speak of: removed, or set aside if it is damaged. */
  readonly swept: number;
  /** What is wrong with the journal, in plain words. */
  readonly damage: readonly string[];
  /** Mail file systems that are not served yet, and why. */
  readonly unavailable: readonly { readonly home: string; readonly reason: string }[];
}
