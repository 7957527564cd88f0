/**
 * Synced delivery on a simulated disk: two senders deliver batches at the same time, a reader
 * moves, flags and deletes messages, and at some instant the power is cut or the process killed.
 *
 * What was sent, acknowledged and done by the reader is noted as expectations, which are checked
 * against the disk afterwards (mail-expectations.ts).
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

export interface HarnessOptions extends MailDiskOptions {
  readonly seed: number;
  readonly flushing: Flushing;
  /** Makes some writes, flushes and write-backs fail. */
  readonly faulty?: boolean;
  /** Changes the file system, to remove a guard. */
  readonly withoutGuard?: (fileSystem: FileSystem) => FileSystem;
  readonly withoutSyncGuard?: (sync: SyncFileSystem) => SyncFileSystem;
}

export class MaildirHarness {
  readonly expectations = new MailExpectations(() => ({ mailboxes }));
  /** Paths of descriptors that a process did not close. */
  readonly leftOpen: string[] = [];
  readonly random: SeededRandom;
  disk: SimDisk;
  readonly #options: HarnessOptions;
  #processes = 0;

  constructor(options: HarnessOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = mailDisk(this.random, options);
  }

  /** Runs one process that delivers; it ends when done, when killed, or with the power. */
  async runProcess(batches: number): Promise<void> {
    const process = this.disk.start();
    const tools = this.#tools(process);
    const reader = new Reader(this.disk, this.expectations, mailboxes, this.random);
    this.disk.onTurn = () => {
      reader.turn();
      if (this.#options.faulty && this.random.below(40) === 0) this.disk.failWriteBack();
    };
    if (this.#options.faulty) this.#failSomeCalls();
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

  /** Cuts the power, and goes on with one of the disks that the cut may have left. */
  cutPower(): void {
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
    this.#processes += 1;
    const {
      flushing,
      seed,
      withoutGuard = (same) => same,
      withoutSyncGuard = (same) => same,
    } = this.#options;
    const clock = new SimClock({ seed });
    const random = Buffer.alloc(8);
    random.writeUInt32BE(seed >>> 0);
    random.writeUInt32BE(this.#processes, 4);
    return {
      fileSystem: withoutGuard(process),
      clock,
      names: createNameSource({ clock, host: "post.example", random }),
      known: createKnownMailboxes(),
      root: mailRoot,
      ...(flushing === "each"
        ? {}
        : { syncFileSystem: withoutSyncGuard(this.disk.openSync(process)) }),
      ...(flushing === "mixed"
        ? { syncPlan: () => (this.random.below(2) === 0 ? "each" : "bulk") }
        : {}),
    };
  }

  #failSomeCalls(): void {
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
