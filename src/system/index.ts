export { type Clock, systemClock, type TimerHandle } from "./clock.ts";
export type { Descriptor, FileStatus, FileSystem, SyncFileSystem } from "./file-system.ts";
export { nodeFileSystem } from "./node-file-system.ts";
