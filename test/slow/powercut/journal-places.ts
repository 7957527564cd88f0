/**
 * Directory and size of the journal under test. The journal's segments (files of the log) are
 * small, so that a short load fills and reuses them, and so that the largest messages do not fit
 * into a frame.
 */
import { join } from "node:path";
import type { JournalCommit } from "../../../src/delivery/index.ts";
import { mailRoot } from "./check.ts";

export interface Places {
  /** The root of the file system that holds the mail. */
  readonly disk: string;
  /** The root of the file system that holds the journal. @defaultValue `disk` */
  readonly journalDisk?: string | undefined;
}

export const segmentBytes = 256 * 1024;
export const maxSegments = 12;

export function journalCommit(places: Places): {
  readonly mailRoot: string;
  readonly commit: JournalCommit;
} {
  const { disk, journalDisk = disk } = places;
  return {
    mailRoot: join(disk, mailRoot),
    commit: { journal: join(journalDisk, "journal"), segmentBytes, maxSegments },
  };
}
