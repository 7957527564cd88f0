/**
 * The publishers of one journal, by volume (file system of mailboxes): its staging directory, and
 * the publisher that moves messages from there into mailboxes. admission.ts asks for them,
 * recovery.ts opens those of volumes with mail in the log. A volume that fails delays no other.
 */
import type { Journal, Marks } from "../../journal/index.ts";
import type { KnownMailboxes } from "../../maildir/index.ts";
import type { Volume } from "../volumes/volumes.ts";
import type { FrameLog } from "./frame-log.ts";
import { Publisher, type PublisherEvent } from "./publisher.ts";
import { Staging, type StagingTools } from "./staging.ts";

export interface VolumePublisher {
  readonly volume: Volume;
  readonly staging: Staging;
  readonly publisher: Publisher;
}

interface VolumePublisherTools extends StagingTools {
  readonly journal: Journal;
  readonly log: FrameLog;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly publishWithinMs: number;
  /** The marks that were in the log when it was opened, by volume. */
  readonly marks: ReadonlyMap<string, Marks>;
  /** Whether the log was read without damage. */
  readonly isSound: boolean;
  /** Called for each event of each publisher, when it happens. */
  readonly onEvent: (volumePublisher: VolumePublisher, event: PublisherEvent) => void;
}

export class VolumePublishers {
  readonly #tools: VolumePublisherTools;
  readonly #byVolume = new Map<string, VolumePublisher>();

  constructor(tools: VolumePublisherTools) {
    this.#tools = tools;
  }

  /** The publisher of a volume; one opened here is live at once: the log has no mail for it. */
  of(volume: Volume): VolumePublisher {
    const known = this.#byVolume.get(volume.id);
    if (known) return known;
    const opened = this.open(volume);
    opened.staging.sweep(new Set(), this.#tools.isSound);
    opened.publisher.goLive();
    return opened;
  }

  get all(): readonly VolumePublisher[] {
    return [...this.#byVolume.values()];
  }

  /** Messages in the log that are not published yet, and the bytes they take on their volumes. */
  get pending(): { readonly messages: number; readonly bytes: number } {
    const pending = this.all.map(({ publisher }) => publisher.pending);
    return {
      messages: pending.reduce((sum, { messages }) => sum + messages, 0),
      bytes: pending.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  /** Closes all publishers: each runs its last rounds first. */
  async close(): Promise<void> {
    await Promise.all(this.all.map(({ publisher }) => publisher.close()));
  }

  /** Opens the publisher of a volume that the log mentions; recovery then calls its `goLive`. */
  open(volume: Volume): VolumePublisher {
    const { journal, log, marks, onEvent, ...tools } = this.#tools;
    const staging = new Staging(volume.staging, tools);
    const publisher: Publisher = new Publisher({
      ...tools,
      staging,
      marks: marks.get(volume.id) ?? { durable: 0n, published: 0n },
      mark: (reached, withinMs) => journal.mark(volume.id, reached, { withinMs }),
      logAgain: (records) => log.writeAgain(records, [volume]),
      onEvent: (event) => onEvent(opened, event),
    });
    const opened = { volume, staging, publisher };
    this.#byVolume.set(volume.id, opened);
    return opened;
  }
}
