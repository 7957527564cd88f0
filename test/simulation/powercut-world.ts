/**
 * A small post office on a simulated disk: two senders deliver batches at the same time, a reader
 * moves, flags and deletes what it sees, and somewhere the power is cut or the process killed.
 *
 * It keeps a ledger of what was sent, acknowledged and done by the reader, which `verify` in
 * powercut-ledger.ts holds against what is found on the disk afterwards.
 */
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  deliverAll,
} from "../../src/maildir/index.ts";
import type { FileSystem, SyncFileSystem } from "../../src/system/index.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";
import { SimDisk } from "../support/sim-disk/disk.ts";
import type { SimProcess } from "../support/sim-disk/process.ts";
import { Ledger } from "./powercut-ledger.ts";
import { Reader } from "./powercut-reader.ts";

export const mailRoot = "/mail";
export const mailboxes = ["/mail/a.example/ann", "/mail/a.example/bob", "/mail/b.example/cid"];
const spoolFile = "/mail/spooled";

/** How a batch is flushed: message by message, by whole file system, or drawn for each batch. */
export type Flushing = "each" | "bulk" | "mixed";

export interface WorldOptions {
  readonly seed: number;
  readonly flushing: Flushing;
  /** Also lets writes, flushes and write-backs fail now and then. */
  readonly faulty?: boolean;
  /** Leaves a guard out, to see the sweep fail. */
  readonly spoil?: (fileSystem: FileSystem) => FileSystem;
  readonly spoilBulk?: (sync: SyncFileSystem) => SyncFileSystem;
}

export class World {
  readonly ledger = new Ledger();
  readonly random: SeededRandom;
  disk: SimDisk;
  readonly #options: WorldOptions;
  #lives = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = new SimDisk(this.random);
    const { root } = this.disk;
    const mail = this.disk.newInode("directory", 0o755);
    const spooled = this.disk.newInode("file", 0o600);
    spooled.bytes = new Uint8Array(1200).fill(115);
    spooled.durableBytes = spooled.bytes;
    root.add("mail", mail);
    mail.add("spooled", spooled);
    mail.flushNames(mail.changes);
    root.flushNames(root.changes);
  }

  /** One process lives and delivers, until it has done its work, is killed, or the power goes. */
  async live(batches: number): Promise<void> {
    const process = this.disk.start();
    const tools = this.#tools(process);
    const reader = new Reader(this.disk, this.ledger, mailboxes, this.random);
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
    this.ledger.leftOpen.push(...process.openFiles);
    process.kill();
  }

  /** Cuts the power, and goes on with one of the disks that a machine may find afterwards. */
  loseLife(): void {
    if (!this.disk.isOff) this.disk.cut();
    this.disk = this.disk.afterCut();
    this.ledger.rebase(this.disk, mailboxes);
  }

  async #send(batches: number, tools: DeliverTools, process: SimProcess): Promise<void> {
    for (let batch = 0; batch < batches; batch += 1) {
      const deliveries = Array.from({ length: 1 + this.random.below(4) }, () => this.#delivery());
      const results = await deliverAll(deliveries, tools);
      if (this.disk.isOff || process.isDead) return;
      for (const [index, result] of results.entries()) {
        this.ledger.answered(deliveries[index]!, result);
      }
    }
  }

  #delivery(): Delivery {
    const maildir = mailboxes[this.random.below(mailboxes.length)]!;
    const text = this.ledger.nextText(this.random);
    const spooled = this.random.below(8) === 0;
    const delivery: Delivery = {
      maildir,
      body: spooled ? { head: text, file: spoolFile, size: text.length + 1200 } : text,
      ...(this.random.below(5) === 0 ? { flags: "S" } : {}),
      ...(this.random.below(5) === 0 ? { receivedAt: new Date(1_600_000_000_000) } : {}),
    };
    const wire = spooled ? Buffer.concat([text, Buffer.alloc(1200, 115)]) : text;
    this.ledger.sent(delivery, wire);
    return delivery;
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
