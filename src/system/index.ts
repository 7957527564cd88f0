/**
 * The two seams to the machine, `FileSystem` and `Clock`, the durable write of one file, and parts
 * that every room needs once: assertions, checks of options, threads, locks, time limits. Uses no
 * other room.
 */
export { invariant } from "./assert.ts";
export { maxTimerMs, type OptionChecks, optionChecks } from "./check-options.ts";
export { type Clock, systemClock, type TimerHandle } from "./clock.ts";
export {
  type DurableWriteOptions,
  sweepTemporaryFiles,
  syncFile,
  writeFileDurably,
} from "./durable-write.ts";
export { errnoOf, SystemError, type SystemErrorCode } from "./errors.ts";
export type {
  Descriptor,
  FileStatus,
  FileSystem,
  FileSystemSpace,
  SyncFileSystem,
} from "./file-system.ts";
export { guarded } from "./guarded.ts";
export { isLoopbackHost } from "./loopback.ts";
export { nodeFileSystem } from "./node-file-system.ts";
export { openSqlite } from "./sqlite.ts";
export {
  type FileSystemSync,
  type FileSystemSyncOptions,
  openFileSystemSync,
} from "./sync/file-system-sync.ts";
export type { Helper } from "./sync/helper-line.ts";
export { ReopenedSync, SyncByDevice } from "./sync/sync-by-device.ts";
export { type ErrorFacts, errorOf, factsOf } from "./thread/error-facts.ts";
export {
  type NoAnswer,
  ThreadClient,
  type ThreadClientOptions,
  type ThreadProtocol,
  threadEntry,
} from "./thread/thread-client.ts";
export { type ThreadCall, type ThreadServer, threadServer } from "./thread/thread-server.ts";
export { within } from "./within.ts";
