/** The options and requests of the process of a disk. */
import type { FileSystemName } from "./host.ts";
import type { DiskSettings } from "./server.ts";

/** The socket in the disk's directory on which its process answers requests. */
export const controlName = "control";

export interface DiskProcessOptions {
  readonly fileSystem: FileSystemName;
  readonly sizeBytes: number;
  /** The settings of the disk once the file system is mounted. */
  readonly settings: DiskSettings;
  readonly record: boolean;
  /** A disk image instead of a new file system. */
  readonly image?: string | undefined;
  /** Whether the end of standard input takes the disk down. */
  readonly owned: boolean;
}

export type DiskRequest =
  | { readonly ask: "counters" | "recording" | "down" }
  | { readonly ask: "configure"; readonly change: Partial<DiskSettings> };
