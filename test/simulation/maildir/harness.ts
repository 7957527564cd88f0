/**
 * A small post office on a simulated disk: two senders deliver batches at the same time, a reader
 * moves, flags and deletes what it sees, and somewhere the power is cut or the process killed.
 *
 * It keeps a expectations of what was sent, acknowledged and done by the reader, which is held against what is
 * found on the disk afterwards (mail-ledger.ts).
 */
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  deliverAll,
} from "../../../src/maildir/index.ts";
import type { FileSystem, SyncFileSystem } from "../../../src/system/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { SimClock } from "../../support/sim-clock.ts";
import type { SimDisk } from "../../support/sim-disk/disk.ts";
import type { SimProcess } from "../../support/sim-disk/process.ts";
import { MailExpectations } from "../mail-expectations.ts";
import { Reader } from "../mail-reader.ts";
import { draw, type MailDiskOptions, mailboxes, mailDisk, mailRoot } from "../mail-setup.ts";

/** How a batch is flushed: message by message, by whole file system, or drawn for each batch. */
export type Flushing = "each" | "bulk" | "mixed";

export interface WorldOptions extends MailDiskOptions {
  readonly seed: number;
  readonly flushing: Flushing;
  /** Also lets writes, flushes and write-backs fail now and then. */
  readonly faulty?: boolean;
  /** Leaves a guard out, to see the sweep fail. */
  readonly spoil?: (fileSystem: FileSystem) => FileSystem;
  readonly spoilBulk?: (sync: SyncFileSystem) => SyncFileSystem;
}

export class World {
  readonly expectations = new MailExpectations(() => ({ mailboxes }));
  /** Descriptors a process forgot to close. */
  readonly leftOpen: string[] = [];
  readonly random: SeededRandom;
  disk: SimDisk;
  readonly #options: WorldOptions;
  #lives = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = mailDisk(this.random, options);
  }

  /** One process lives and delivers, until it has done its work, is killed, or the power goes. */
  async live(batches: number): Promise<void> {
    const process = this.disk.start();
    const tools = this.#tools(process);
    const reader = new Reader(this.disk, this.expectations, mailboxes, this.random);
    this.disk.onTurn = () => {
      reader.turn();
      if (this.#options.faulty && this.random.below(40) === 0) this.disk.failWriteBack();
    };
    if (this.#options.faulty) this.#breakSomething();
    const share = Math.ceil(batches / 2);
    await Promise.all([
      this.#send(share, tools, process),
      this.#send(batches - share, tools, process),
    ]);
    await reader.rest();
    this.disk.faults = [];
    if (process.isDead || this.disk.isOff) return;
    this.leftOpen.push(...process.openFiles);
    process.kill();
  }

  /** Cuts the power, and goes on with one of the disks that a machine may find afterwards. */
  loseLife(): void {
    if (!this.disk.isOff) this.disk.cut();
    this.disk = this.disk.afterCut();
    this.expectations.afterCut(this.disk);
  }

  async #send(batches: number, tools: DeliverTools, process: SimProcess): Promise<void> {
    for (let batch = 0; batch < batches; batch += 1) {
      const deliveries = Array.from({ length: 1 + this.random.below(4) }, () =>
        draw(this.expectations, this.random),
      );
      const results = await deliverAll(deliveries, tools);
      if (this.disk.isOff || process.isDead) return;
      for (const [index, result] of results.entries()) {
        this.expectations.answered(deliveries[index]!, result.ok ? result.id : undefined);
        if (result.ok) this.expectations.settled([result.id]);
      }
    }
  }

  #tools(process: SimProcess): DeliverTools {
    this.#lives += 1;
    const { flushing, seed, spoil = (same) => same, spoilBulk = (same) => same } = this.#options;
    const clock = new SimClock({ seed });
    const random = Buffer.alloc(8);
    random.writeUInt32BE(seed >>> 0);
    random.writeUInt32BE(this.#lives, 4);
    return {
      fileSystem: spoil(process),
      clock,
      names: createNameSource({ clock, host: "post.example", random }),
      known: createKnownMailboxes(),
      root: mailRoot,
      ...(flushing === "each" ? {} : { syncFileSystem: spoilBulk(this.disk.openSync(process)) }),
      ...(flushing === "mixed"
        ? { syncPlan: () => (this.random.below(2) === 0 ? "each" : "bulk") }
        : {}),
    };
  }

  #breakSomething(): void {
    const errno = ["EIO", "ENOSPC", "EDQUOT"][this.random.below(3)]!;
    const first = this.disk.operations + this.random.below(150);
    const last = first + [0, 0, 0, 3, 1000][this.random.below(5)]!;
    const failing = ["write", "fsync", "fdatasync", "syncfs", "rename", "open"];
    this.disk.faults = [
      {
        errno,
        matches: ({ number, name }) => number >= first && number <= last && failing.includes(name),
      },
    ];
  }
}
