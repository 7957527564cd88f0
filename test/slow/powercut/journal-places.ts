/**
 * Where a journal under test lies, and how large it is: small segments, so that a short load fills,
 * publishes and reuses them, and so small that the largest messages go by reference.
 */
import { join } from "node:path";
import type { JournalCommit } from "../../../src/delivery/index.ts";
import { mailRoot } from "./check.ts";

export interface Places {
  /** The root of the file system that holds the mail. */
  readonly disk: string;
  /** The root of another one, when the journal is not with the mail. */
  readonly journalDisk?: string;
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
