/**
 * The mailboxes looked at a moment ago. To look at one wholly takes half a dozen system calls, more than
 * its message does; for a moment one call that recognises its `new/` will do. What changes otherwise in
 * that moment is found when the message is published, as it would be if it changed a moment later.
 */
import type { Clock, FileSystem } from "../../system/index.ts";
import type { VolumePublisher } from "../publishing/volume-publishers.ts";

export interface RecentMailbox {
  readonly volumePublisher: VolumePublisher;
  /** The mailbox's path as records have it. */
  readonly stored: string;
}

interface Noted extends RecentMailbox {
  readonly fingerprint: string | undefined;
  readonly untilMs: number;
}

const trustedForMs = 250;
const maxMailboxes = 100_000;

export class RecentMailboxes {
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #byPath = new Map<string, Noted>();

  constructor(fileSystem: FileSystem, clock: Clock) {
    this.#fileSystem = fileSystem;
    this.#clock = clock;
  }

  /** What was noted of the mailbox, if that was not long ago and its `new/` is the same. */
  find(path: string): RecentMailbox | undefined {
    const found = this.#byPath.get(path);
    if (found === undefined || this.#clock.now() >= found.untilMs) return undefined;
    return found.fingerprint === this.#fingerprintOf(path) ? found : undefined;
  }

  note(path: string, mailbox: RecentMailbox): RecentMailbox {
    const fingerprint = this.#fingerprintOf(path);
    if (fingerprint === undefined) return mailbox;
    if (this.#byPath.size >= maxMailboxes) this.#byPath.clear();
    const untilMs = this.#clock.now() + trustedForMs;
    this.#byPath.set(path, { ...mailbox, fingerprint, untilMs });
    return mailbox;
  }

  #fingerprintOf(path: string): string | undefined {
    try {
      const { device, inode, bornMs } = this.#fileSystem.status(`${path}/new`);
      return `${device}:${inode}:${bornMs}`;
    } catch {
      return undefined;
    }
  }
}
