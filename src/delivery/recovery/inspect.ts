/**
 * Says what a journal holds and what it still owes, by the same decisions as recovery, and touches
 * nothing: for `doctor` and dry runs.
 */
import { type InspectedSegment, Journal } from "../../journal/index.ts";
import { type FileSystem, nodeFileSystem } from "../../system/index.ts";
import { sizeOf } from "../publishing/publication.ts";
import { identityIn, recognises } from "../volumes/identity.ts";
import { decodeBatch, pathOfStored } from "../volumes/records.ts";
import { stagingIn } from "../volumes/staging-directories.ts";
import { type NextStep, nextStep } from "./next-step.ts";
import { indexOf, stagedAs } from "./replay.ts";

export interface InspectJournalOptions {
  readonly journal: string;
  /** As given to the executor that wrote the journal. */
  readonly mailRoot?: string;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem;
}

export interface JournalInspection {
  /** Empty when there is no journal. */
  readonly id: string;
  /** How often it has been opened. */
  readonly starts: bigint;
  readonly segments: readonly InspectedSegment[];
  /** What is wrong with the log, in plain words. */
  readonly damage: readonly string[];
  /** The mail file systems that frames of the log speak of. */
  readonly volumes: readonly InspectedVolume[];
}

/** What recovery would do on one mail file system, in numbers of messages. */
export interface InspectedVolume {
  /** The directory that holds its staging directory. */
  readonly home: string;
  readonly staging: string;
  /** Whether it is there, and is the one the journal means; otherwise everything is `kept`. */
  readonly isRecognised: boolean;
  /** To be staged again from the journal and published. */
  readonly toRestore: number;
  /** Staged already: to be published, or a left-over name to be removed. */
  readonly toFinish: number;
  /** Published already; what became of them since is the reader's business. */
  readonly toSkip: number;
  /** To stay in the journal, because the file system was not recognised. */
  readonly toKeep: number;
  /** Octets of all messages but those to be skipped. */
  readonly owedBytes: number;
  /** Mailboxes of all messages but those to be skipped. */
  readonly mailboxes: readonly string[];
}

/**
 * Inspects a journal without its locks. While a process has it open, what is found may be a moment old.
 *
 * @throws {JournalError} `ERR_JOURNAL_VERSION`, `ERR_JOURNAL_OPEN_FAILED`, and `ERR_JOURNAL_DAMAGED` when
 *   a frame changed while it was read; {@link DeliveryError} ERR_DELIVERY_JOURNAL for one not understood.
 */
export async function inspectJournal(options: InspectJournalOptions): Promise<JournalInspection> {
  const { journal: directory, mailRoot, fileSystem = nodeFileSystem } = options;
  const { id, starts, recovery, segments } = await Journal.inspect({ directory, fileSystem });
  const index = await indexOf(recovery.frames);
  const volumes = new Map<string, Tally>();
  for (const [volume, { stored, starts: least }] of index.volumes) {
    const home = pathOfStored(stored.home, mailRoot);
    const staging = stagingIn(home, id);
    const expected = { journal: id, fileSystem: volume, starts: least };
    const isRecognised = recognises(identityIn(staging, fileSystem), expected, starts);
    volumes.set(volume, { home, staging, isRecognised, steps: {}, owedBytes: 0 });
  }
  const mailboxes = new Map<Tally, Set<string>>();
  for (const frame of recovery.frames) {
    for (const record of decodeBatch(await frame.read()).records) {
      const tally = volumes.get(record.volume);
      if (tally === undefined) continue;
      const step = nextStep({
        lsn: frame.lsn,
        highestLsn: index.highest.get(record.id) ?? frame.lsn,
        marks: recovery.marks.get(record.volume) ?? { durable: 0n, published: 0n },
        recognised: tally.isRecognised,
        staged: () => stagedAs(record.id, tally.staging, fileSystem),
      });
      tally.steps[step] = (tally.steps[step] ?? 0) + 1;
      if (!isOwed(step)) continue;
      tally.owedBytes += sizeOf(record);
      const known = mailboxes.get(tally) ?? new Set();
      mailboxes.set(tally, known.add(pathOfStored(record.mailbox, mailRoot)));
    }
  }
  return {
    ...{ id, starts, segments, damage: recovery.damage },
    volumes: [...volumes.values()].map((tally) => inspected(tally, mailboxes.get(tally))),
  };
}

interface Tally {
  readonly home: string;
  readonly staging: string;
  readonly isRecognised: boolean;
  readonly steps: Partial<Record<NextStep, number>>;
  owedBytes: number;
}

function isOwed(step: NextStep): boolean {
  return ["stage again", "publish", "remove from staging", "keep"].includes(step);
}

function inspected(tally: Tally, mailboxes: ReadonlySet<string> = new Set()): InspectedVolume {
  const { home, staging, isRecognised, steps, owedBytes } = tally;
  const count = (step: NextStep) => steps[step] ?? 0;
  return {
    ...{ home, staging, isRecognised, owedBytes },
    toRestore: count("stage again"),
    toFinish: count("publish") + count("remove from staging"),
    toSkip: count("flush names"),
    toKeep: count("keep"),
    mailboxes: [...mailboxes].sort(),
  };
}
