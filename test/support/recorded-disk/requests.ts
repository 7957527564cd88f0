/** The options and requests that index.ts sends to process.ts, the process of a disk. */
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
  /** Path of a disk image to load; without it a new file system is made. */
  readonly image?: string | undefined;
  /** Whether the disk is taken down at the end of standard input, which its owner holds open. */
  readonly owned: boolean;
}

export type DiskRequest =
  | { readonly ask: "counters" | "recording" | "down" }
  | { readonly ask: "configure"; readonly change: Partial<DiskSettings> };
