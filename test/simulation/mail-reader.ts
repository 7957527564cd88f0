/**
 * A mail reader that works while mail is delivered: it reads messages, moves them to `cur/`, sets
 * flags, deletes, and sometimes flushes its changes.
 */
import type { Descriptor } from "../../src/system/index.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { SimDisk } from "../support/sim-disk/disk.ts";
import type { SimProcess } from "../support/sim-disk/process.ts";
import type { ReaderAction } from "./mail-expectations.ts";

/** Takes the observations and actions of a reader. */
export interface ReaderLog {
  seen(path: string, bytes: Uint8Array): void;
  readerActed(id: string, action: ReaderAction): void;
  /** The reader's earlier actions on the same message. */
  actionsBefore(id: string, action: ReaderAction): readonly ReaderAction[];
}

export class Reader {
  readonly #process: SimProcess;
  readonly #disk: SimDisk;
  readonly #expectations: ReaderLog;
  readonly #mailboxes: readonly string[];
  readonly #random: SeededRandom;
  readonly #flushing = new Set<Promise<void>>();

  constructor(
    disk: SimDisk,
    expectations: ReaderLog,
    mailboxes: readonly string[],
    random: SeededRandom,
  ) {
    this.#disk = disk;
    this.#process = disk.start();
    this.#expectations = expectations;
    this.#mailboxes = mailboxes;
    this.#random = random;
  }

  /** Does one action, or none. A message that it read must not change afterwards. */
  turn(): void {
    if (this.#random.below(3) !== 0) return;
    const mailbox = this.#mailboxes[this.#random.below(this.#mailboxes.length)]!;
    const subdirectory = this.#random.below(2) === 0 ? "new" : "cur";
    const faults = this.#disk.faults;
    this.#disk.faults = [];
    try {
      const names = this.#process.list(`${mailbox}/${subdirectory}`);
      const name = names[this.#random.below(names.length)];
      if (name !== undefined) this.#act(mailbox, subdirectory, name);
    } catch (error) {
      // The mailbox may not exist yet; the disk may be off, or this reader have ended.
      if (!["ENOENT", undefined].includes((error as NodeJS.ErrnoException).code)) throw error;
    } finally {
      this.#disk.faults = faults;
    }
  }

  /** Waits until its flushes have ended. */
  async rest(): Promise<void> {
    await Promise.all(this.#flushing);
  }

  #act(mailbox: string, subdirectory: "new" | "cur", name: string): void {
    const path = `${mailbox}/${subdirectory}/${name}`;
    this.#expectations.seen(path, this.#read(path));
    const id = name.split(":")[0]!;
    // Like our own code, it opens the directories that it will flush before it changes anything.
    const directories = this.#random.below(2) === 0 ? this.#open(mailbox) : [];
    const action = this.#action(mailbox, id, path);
    if (action) this.#expectations.readerActed(id, action);
    if (directories.length > 0) this.#flush(directories, id, action);
  }

  #action(mailbox: string, id: string, path: string): ReaderAction | undefined {
    const what = this.#random.below(4);
    if (what === 0) {
      this.#process.unlink(path);
      return { kind: "deleted", path, isDurable: false };
    }
    const flags = ["S", "RS", "FS"][this.#random.below(3)]!;
    const target = `${mailbox}/cur/${id}:2,${flags}`;
    if (what === 3 || target === path) return undefined;
    this.#process.rename(path, target);
    return { kind: "moved", path: target, isDurable: false };
  }

  #read(path: string): Uint8Array {
    const file = this.#process.openForReading(path);
    const bytes = new Uint8Array(this.#process.status(path).size);
    this.#process.read(file, bytes);
    this.#process.close(file);
    return bytes;
  }

  #open(mailbox: string): Descriptor[] {
    return ["cur", "new"].map((name) => this.#process.openDirectory(`${mailbox}/${name}`));
  }

  #flush(directories: readonly Descriptor[], id: string, action: ReaderAction | undefined): void {
    const flushing = (async () => {
      try {
        for (const directory of directories) {
          await this.#process.sync(directory);
          this.#process.close(directory);
        }
        // An earlier action without a flush may have been lost before these were opened.
        if (
          action &&
          this.#expectations.actionsBefore(id, action).every(({ isDurable }) => isDurable)
        ) {
          action.isDurable = true;
        }
      } catch {
        // Not durable then.
      }
    })();
    this.#flushing.add(flushing);
  }
}
