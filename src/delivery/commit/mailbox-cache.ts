/**
 * Mailboxes that admission.ts checked in the last quarter of a second. A full check takes half a
 * dozen system calls, more than the message itself; in that time one call, which finds `new/` to be
 * the same directory, is enough. Any other change of the mailbox is found when the message is
 * published, like a change made after its admission.
 */
import type { Clock, FileSystem } from "../../system/index.ts";
import type { VolumePublisher } from "../publishing/volume-publishers.ts";

export interface CachedMailbox {
  readonly volumePublisher: VolumePublisher;
  /** The mailbox's path in records of the log: relative to the mail root if below it. */
  readonly stored: string;
}

interface Checked extends CachedMailbox {
  /** Of `new/`: device, inode and birth time. */
  readonly fingerprint: string | undefined;
  /** Monotonic. */
  readonly untilMs: number;
}

const trustedForMs = 250;
/** When so many are cached, all are dropped. */
const maxMailboxes = 100_000;

export class MailboxCache {
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #byPath = new Map<string, Checked>();

  constructor(fileSystem: FileSystem, clock: Clock) {
    this.#fileSystem = fileSystem;
    this.#clock = clock;
  }

  /** The mailbox at a path, if checked in the last 250 ms and its `new/` is the same directory. */
  find(path: string): CachedMailbox | undefined {
    const found = this.#byPath.get(path);
    if (found === undefined || this.#clock.now() >= found.untilMs) return undefined;
    return found.fingerprint === this.#fingerprintOf(path) ? found : undefined;
  }

  /** Adds a mailbox that was checked just now, and returns it. */
  add(path: string, mailbox: CachedMailbox): CachedMailbox {
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
