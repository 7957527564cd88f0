/**
 * Reports what a journal holds and which of its mail is not published, by recovery's own decisions
 * (next-step.ts). It changes nothing: for `postbag doctor` and dry runs.
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
  /** Directory of the journal. */
  readonly journal: string;
  /** The `mailRoot` of the executor that wrote the journal. @defaultValue none, as there */
  readonly mailRoot?: string | undefined;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem | undefined;
}

export interface JournalInspection {
  /** The journal's id; empty when there is no journal. */
  readonly id: string;
  /** How often the journal has been opened. */
  readonly starts: bigint;
  readonly segments: readonly InspectedSegment[];
  /** What is wrong with the log, in plain words. */
  readonly damage: readonly string[];
  /** The volumes that frames of the log mention. */
  readonly volumes: readonly InspectedVolume[];
}

/** What recovery would do on one volume, in numbers of messages. */
export interface InspectedVolume {
  /** The directory that holds the volume's staging directory. */
  readonly directory: string;
  /** The path of the staging directory. */
  readonly staging: string;
  /**
   * Whether the volume is present and is the one the journal means; otherwise all its mail stays in
   * the log.
   */
  readonly isRecognised: boolean;
  /** Not durable in staging: to be written there again from the journal, and published. */
  readonly toRestore: number;
  /**
   * Durable in staging: to be published; or in its mailbox too, then to be removed from staging.
   */
  readonly toFinish: number;
  /** Published before; readers may have moved or deleted these messages since. */
  readonly toSkip: number;
  /** To stay in the journal, because the volume was not recognised. */
  readonly toKeep: number;
  /** Bytes of all messages except those to be skipped. */
  readonly owedBytes: number;
  /** Mailboxes of all messages except those to be skipped. */
  readonly mailboxes: readonly string[];
}

/**
 * Inspects a journal without taking its locks. While a process has the journal open, the result may
 * be a moment old.
 *
 * @throws {JournalError} `ERR_JOURNAL_VERSION`, `ERR_JOURNAL_OPEN_FAILED`, and
 *   `ERR_JOURNAL_DAMAGED` when a frame changed while it was read; {@link DeliveryError}
 *   ERR_DELIVERY_JOURNAL for an unreadable frame.
 */
export async function inspectJournal(options: InspectJournalOptions): Promise<JournalInspection> {
  const { journal, mailRoot, fileSystem = nodeFileSystem } = options;
  const { id, starts, recovery, segments } = await Journal.inspect({
    directory: journal,
    fileSystem,
  });
  const index = await indexOf(recovery.frames);
  const tallies = new Map<string, Tally>();
  for (const [volume, { stored, starts: minStarts }] of index.volumes) {
    const directory = pathOfStored(stored.directory, mailRoot);
    const staging = stagingIn(directory, id);
    const expected = { journal: id, volume, starts: minStarts };
    const isRecognised = recognises(identityIn(staging, fileSystem), expected, starts);
    tallies.set(volume, new Tally(directory, staging, isRecognised));
  }
  for (const frame of recovery.frames) {
    for (const record of decodeBatch(await frame.read()).records) {
      const tally = tallies.get(record.volume);
      if (tally === undefined) continue;
      const step = nextStep({
        lsn: frame.lsn,
        highestLsn: index.highest.get(record.id) ?? frame.lsn,
        marks: recovery.marks.get(record.volume) ?? { durable: 0n, published: 0n },
        isRecognised: tally.isRecognised,
        staged: () => stagedAs(record.id, tally.staging, fileSystem),
      });
      tally.add(step, sizeOf(record), pathOfStored(record.mailbox, mailRoot));
    }
  }
  const volumes = [...tallies.values()].map((tally) => tally.result());
  return { id, starts, segments, damage: recovery.damage, volumes };
}

const owedSteps: readonly NextStep[] = [
  "stage again",
  "publish",
  "remove from staging",
  "keep in log",
];

/** Counts the steps on one volume. */
class Tally {
  readonly directory: string;
  readonly staging: string;
  readonly isRecognised: boolean;
  readonly #steps = new Map<NextStep, number>();
  readonly #mailboxes = new Set<string>();
  #owedBytes = 0;

  constructor(directory: string, staging: string, isRecognised: boolean) {
    this.directory = directory;
    this.staging = staging;
    this.isRecognised = isRecognised;
  }

  add(step: NextStep, bytes: number, mailbox: string): void {
    this.#steps.set(step, this.#count(step) + 1);
    if (!owedSteps.includes(step)) return;
    this.#owedBytes += bytes;
    this.#mailboxes.add(mailbox);
  }

  result(): InspectedVolume {
    return {
      directory: this.directory,
      staging: this.staging,
      isRecognised: this.isRecognised,
      toRestore: this.#count("stage again"),
      toFinish: this.#count("publish") + this.#count("remove from staging"),
      toSkip: this.#count("flush names"),
      toKeep: this.#count("keep in log"),
      owedBytes: this.#owedBytes,
      mailboxes: [...this.#mailboxes].sort(),
    };
  }

  #count(step: NextStep): number {
    return this.#steps.get(step) ?? 0;
  }
}
