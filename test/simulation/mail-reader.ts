/**
 * A mail reader at work while mail comes in: it reads what it sees, moves it to `cur/`, sets flags,
 * deletes, and sometimes flushes what it did.
 */
import type { Descriptor } from "../../src/system/index.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { SimDisk } from "../support/sim-disk/disk.ts";
import type { SimProcess } from "../support/sim-disk/process.ts";
import type { Deed } from "./mail-expectations.ts";

/** Where a reader notes what it saw and did. */
export interface ReaderNotes {
  seen(path: string, bytes: Uint8Array): void;
  readerDid(id: string, deed: Deed): void;
  /** What it did to the same message before. */
  deedsBefore(id: string, deed: Deed): readonly Deed[];
}

export class Reader {
  readonly #process: SimProcess;
  readonly #disk: SimDisk;
  readonly #ledger: ReaderNotes;
  readonly #mailboxes: readonly string[];
  readonly #random: SeededRandom;
  readonly #flushing = new Set<Promise<void>>();

  constructor(
    disk: SimDisk,
    ledger: ReaderNotes,
    mailboxes: readonly string[],
    random: SeededRandom,
  ) {
    this.#disk = disk;
    this.#process = disk.start();
    this.#ledger = ledger;
    this.#mailboxes = mailboxes;
    this.#random = random;
  }

  /** Does one thing, or nothing. A message it saw whole once must stay what it was. */
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
      // The mailbox may not be there yet, and the disk or this reader not any more.
      if (!["ENOENT", undefined].includes((error as NodeJS.ErrnoException).code)) throw error;
    } finally {
      this.#disk.faults = faults;
    }
  }

  /** Waits until nothing it flushes is under way. */
  async rest(): Promise<void> {
    await Promise.all(this.#flushing);
  }

  #act(mailbox: string, subdirectory: "new" | "cur", name: string): void {
    const path = `${mailbox}/${subdirectory}/${name}`;
    this.#ledger.seen(path, this.#read(path));
    const id = name.split(":")[0]!;
    // As our own code does, it opens what it will flush before it changes anything.
    const directories = this.#random.below(2) === 0 ? this.#open(mailbox) : [];
    const deed = this.#deed(mailbox, id, path);
    if (deed) this.#ledger.readerDid(id, deed);
    if (directories.length > 0) this.#flush(directories, id, deed);
  }

  #deed(mailbox: string, id: string, path: string): Deed | undefined {
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

  #flush(directories: readonly Descriptor[], id: string, deed: Deed | undefined): void {
    const flushing = (async () => {
      try {
        for (const directory of directories) {
          await this.#process.sync(directory);
          this.#process.close(directory);
        }
        // What it did before without a flush may have been lost before these were opened.
        if (deed && this.#ledger.deedsBefore(id, deed).every(({ isDurable }) => isDurable)) {
          deed.isDurable = true;
        }
      } catch {
        // Not durable then.
      }
    })();
    this.#flushing.add(flushing);
  }
}
