/**
 * The door of `delivery`: group commit into Maildirs, local delivery, inspection of a journal. It
 * uses the rooms batcher, journal, maildir, mail and system.
 */
export type { CommitResult, Committer, JournalView, RecoveryReport } from "./committer.ts";
export { DeliveryError, type DeliveryErrorCode } from "./errors.ts";
export {
  type DeliverRequest,
  type DeliveryEvent,
  DeliveryExecutor,
  type DeliveryExecutorOptions,
  type DeliveryStats,
  type Receipt,
} from "./executor.ts";
export {
  type LocalDeliveryEvent,
  type LocalDeliveryOptions,
  localDelivery,
  type MailboxOf,
} from "./local.ts";
export {
  DEFAULT_MAX_BATCH,
  DEFAULT_MAX_CONCURRENT_FLUSHES,
  DEFAULT_MAX_WAIT_MS,
  type DeliveryTuning,
  type JournalCommit,
  referenceTuning,
} from "./options.ts";
export {
  type InspectedVolume,
  type InspectJournalOptions,
  inspectJournal,
  type JournalInspection,
} from "./recovery/inspect.ts";
export { listStaging, type StagingDirectory } from "./volumes/staging-directories.ts";
