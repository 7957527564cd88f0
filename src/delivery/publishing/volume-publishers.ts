/** The branches of the post office: for each mail file system its staging directory and publisher. */
import type { Journal, Marks } from "../../journal/index.ts";
import type { KnownMailboxes } from "../../maildir/index.ts";
import type { Volume } from "../volumes/volumes.ts";
import type { FrameLog } from "./frame-log.ts";
import { Publisher, type PublisherEvent } from "./publisher.ts";
import { Staging, type StagingTools } from "./staging.ts";

export interface Branch {
  readonly volume: Volume;
  readonly staging: Staging;
  readonly publisher: Publisher;
}

export interface BranchTools extends StagingTools {
  readonly journal: Journal;
  readonly log: FrameLog;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly publishWithinMs: number;
  /** What the log said when it was opened. */
  readonly marks: ReadonlyMap<string, Marks>;
  /** Whether the log was read without an anomaly. */
  readonly isSound: boolean;
  readonly onEvent: (branch: Branch, event: PublisherEvent) => void;
}

export class Branches {
  readonly #tools: BranchTools;
  readonly #byVolume = new Map<string, Branch>();

  constructor(tools: BranchTools) {
    this.#tools = tools;
  }

  /** The branch for a file system; opened here if the log owes it nothing. */
  of(volume: Volume): Branch {
    const known = this.#byVolume.get(volume.id);
    if (known) return known;
    const branch = this.open(volume);
    branch.staging.sweep(new Set(), this.#tools.isSound);
    branch.publisher.goLive();
    return branch;
  }

  get all(): readonly Branch[] {
    return [...this.#byVolume.values()];
  }

  /** Messages in the log that are not published yet, and their octets. */
  get pending(): { readonly messages: number; readonly bytes: number } {
    const publishers = this.all.map(({ publisher }) => publisher);
    return {
      messages: publishers.reduce((sum, { pending }) => sum + pending, 0),
      bytes: publishers.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0),
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(({ publisher }) => publisher.close()));
  }

  /** Opens a branch whose debts are to be paid before it goes live. */
  open(volume: Volume): Branch {
    const { journal, log, marks, onEvent, ...tools } = this.#tools;
    const staging = new Staging(volume.staging, tools);
    const publisher: Publisher = new Publisher({
      ...tools,
      staging,
      marks: marks.get(volume.id) ?? { durable: 0n, published: 0n },
      mark: (reached, withinMs) => journal.mark(volume.id, reached, { withinMs }),
      logAgain: (records) => log.writeAgain(records, [volume]),
      onEvent: (event) => onEvent(branch, event),
    });
    const branch = { volume, staging, publisher };
    this.#byVolume.set(volume.id, branch);
    return branch;
  }
}
