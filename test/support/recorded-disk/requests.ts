/** What the process of a disk is started with, and what it can be asked. */
import type { FileSystemName } from "./host.ts";
import type { DiskSettings } from "./server.ts";

/** The socket in the disk's directory on which its process answers. */
export const controlName = "control";

export interface DiskProcessOptions {
  readonly fileSystem: FileSystemName;
  readonly sizeBytes: number;
  /** How the disk behaves once the file system is mounted. */
  readonly settings: DiskSettings;
  readonly record: boolean;
  /** A disk image to begin with, instead of making a file system. */
  readonly image?: string;
  /** Whether the end of standard input takes the disk down. */
  readonly owned: boolean;
}

export type DiskRequest =
  | { readonly ask: "counters" | "recording" | "down" }
  | { readonly ask: "configure"; readonly change: Partial<DiskSettings> };
