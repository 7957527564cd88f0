/**
 * Methods of methods.ts that lose mail: a journal without one of its flushes. The rig must catch
 * each fault, or its verdict on the engine means nothing.
 */
import { constants, openSync } from "node:fs";
import { JournalCommitter } from "../../../src/delivery/commit/journal-committer.ts";
import type { Committer, JournalCommit } from "../../../src/delivery/index.ts";
import { createKnownMailboxes, createNameSource } from "../../../src/maildir/index.ts";
import { type FileSystem, nodeFileSystem, systemClock } from "../../../src/system/index.ts";

const { O_NOFOLLOW, O_WRONLY } = constants;

const faults = {
  /** A frame is acknowledged when only the page cache has it. */
  "written without flushes": {
    openForLog: (path) => openSync(path, O_WRONLY | O_NOFOLLOW),
  },
  /**
   * DURABLE (the mark up to which messages are staged) is written without flushes of staged data.
   */
  "marked before the checkpoint": {
    syncData: async (file) => {
      if (!isStaged(file)) await nodeFileSystem.syncData(file);
    },
  },
  /**
   * PUBLISHED (the mark up to which messages are published) is written without flushes of names.
   */
  "settled before the names": {
    sync: async (file) => {
      const path = nodeFileSystem.pathOf(file);
      if (!path.endsWith("/new") && !isStagingItself(path)) await nodeFileSystem.sync(file);
    },
  },
} as const satisfies Record<string, Partial<FileSystem>>;
export type JournalFault = keyof typeof faults;

function isStaged(file: number): boolean {
  return nodeFileSystem.pathOf(file).includes("/.postbag-");
}

function isStagingItself(path: string): boolean {
  return /\/\.postbag-[^/]+$/.test(path);
}

/**
 * Opens a journal with one fault; it flushes file by file, so that no bulk flush hides the fault.
 */
export async function openFaultyJournal(
  fault: JournalFault,
  mailRoot: string,
  { journal, ...sizes }: JournalCommit,
): Promise<Committer> {
  const change: Partial<FileSystem> = faults[fault];
  const committer = await JournalCommitter.open(
    {
      directory: journal,
      ...sizes,
      publishWithinMs: 20,
      maxBacklogBytes: 64 * 1024 * 1024,
      maxBacklogWaitMs: 5000,
    },
    {
      fileSystem: { ...nodeFileSystem, ...change },
      clock: systemClock,
      names: createNameSource({ clock: systemClock }),
      known: createKnownMailboxes(),
      root: mailRoot,
      openFileSystemSync: async () => undefined,
      onEvent: () => {},
    },
  );
  return {
    commit: (deliveries) => committer.commit(deliveries),
    close: () => committer.close(),
  };
}
