/**
 * Delivery through the journal on a simulated disk, for all tests of this folder: two senders, a
 * reader that moves, flags and deletes messages, and at some instant the power is cut, the process
 * killed, or a system call fails. Every process begins with recovery.
 */
import {
  JournalCommitter,
  type JournalCommitterTools,
} from "../../../src/delivery/commit/journal-committer.ts";
import type { CommitterEvent } from "../../../src/delivery/committer.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type Delivery,
} from "../../../src/maildir/index.ts";
import type { Clock, FileSystem, FileSystemSync } from "../../../src/system/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import type { SimDisk } from "../../support/sim-disk/disk.ts";
import type { SimProcess } from "../../support/sim-disk/process.ts";
import { MailExpectations } from "../mail-expectations.ts";
import { Reader } from "../mail-reader.ts";
import {
  draw,
  type MailDiskOptions,
  mailboxes,
  mailDisk,
  mailRoot,
  secondVolume,
} from "../mail-setup.ts";

const journalDirectory = "/var/journal";

export interface HarnessOptions extends MailDiskOptions {
  readonly seed: number;
  /** Whether whole file systems can be flushed. */
  readonly bulk?: boolean;
  /** Makes some system calls and write-backs fail, by the seed. */
  readonly faulty?: boolean;
  readonly maxSegments?: number;
  readonly maxBacklogBytes?: number;
  /** Whether a failed flush of a directory loses the directory's changes. */
  readonly directoriesForget?: boolean;
  /** Changes the file system of every process, for one schedule or to remove a guard. */
  readonly withoutGuard?: (fileSystem: FileSystem, disk: SimDisk) => FileSystem;
  readonly withoutSyncGuard?: (sync: FileSystemSync) => FileSystemSync;
}

export class DeliveryHarness {
  readonly expectations = new MailExpectations((disk) => ({ mailboxes, staging: stagingOn(disk) }));
  readonly random: SeededRandom;
  disk: SimDisk;
  readonly counted = { processes: 0, notOpened: 0, restored: 0, finished: 0, skipped: 0 };
  readonly events: CommitterEvent[] = [];
  readonly leftOpen: string[] = [];
  readonly #options: HarnessOptions;

  constructor(options: HarnessOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = mailDisk(this.random, options);
    this.disk.directoriesForget = options.directoriesForget ?? false;
  }

  /**
   * Runs one process: it recovers, delivers, and ends when done, when killed, or at a power cut.
   */
  async runRandomProcess(batches: number, manner: "close" | "drop" = "close"): Promise<void> {
    const process = this.disk.start();
    const reader = new Reader(this.disk, this.expectations, mailboxes, this.random);
    this.disk.onTurn = () => {
      if (!process.hasEnded) reader.turn();
      if (this.#options.faulty && this.random.below(60) === 0) this.disk.failWriteBack();
    };
    if (this.#options.faulty) this.#failSomeCalls();
    await this.untilEnd(process, async () => {
      const committer = await this.open(process);
      if (!committer) return;
      const share = Math.ceil(batches / 2);
      await Promise.all([
        this.send(committer, share, process),
        this.send(committer, batches - share, process),
      ]);
      if (manner === "close") await committer.close();
      if (manner === "close" && !process.hasEnded) this.leftOpen.push(...process.openFiles);
    });
    if (!this.disk.isOff) await reader.rest();
    this.disk.faults = [];
    this.disk.onTurn = undefined;
    if (!process.isDead && !this.disk.isOff) process.kill();
  }

  /** Runs a process that only recovers, on a disk without faults. */
  async recover(): Promise<void> {
    this.disk.faults = [];
    this.disk.cutAt = undefined;
    this.disk.killAt = undefined;
    const process = this.disk.start();
    try {
      const committer = await this.open(process, true);
      const { unavailable, damage } = committer!.recovered;
      if (unavailable.length + damage.length > 0) {
        throw new Error(`recovery on a good disk: ${JSON.stringify({ unavailable, damage })}`);
      }
      await committer!.close();
    } finally {
      process.kill();
    }
  }

  /** Cuts the power; `disk` is then one of the disks that the cut may have left, by the seed. */
  cutPower(): void {
    if (!this.disk.isOff) this.disk.cut();
    this.disk = this.disk.afterCut();
    this.expectations.afterCut(this.disk);
  }

  /** Checks the disk against everything that was acknowledged; throws for a broken promise. */
  check(): void {
    this.expectations.check(this.disk);
  }

  async open(process: SimProcess, mustOpen = false): Promise<JournalCommitter | undefined> {
    this.counted.processes += 1;
    try {
      const committer = await JournalCommitter.open(
        {
          directory: journalDirectory,
          publishWithinMs: 20,
          maxBacklogBytes: this.#options.maxBacklogBytes ?? 30_000,
          maxBacklogWaitMs: 200,
          segmentBytes: 64 * 1024,
          maxSegments: this.#options.maxSegments ?? 4,
        },
        this.#tools(process),
      );
      const { restored, finished, skipped } = committer.recovered;
      this.counted.restored += restored;
      this.counted.finished += finished;
      this.counted.skipped += skipped;
      return committer;
    } catch (error) {
      if (process.hasEnded) return undefined;
      if (mustOpen || !this.#options.faulty) throw error;
      this.counted.notOpened += 1;
      return undefined;
    }
  }

  #tools(process: SimProcess): JournalCommitterTools {
    const {
      withoutGuard = (same) => same,
      withoutSyncGuard = (same) => same,
      bulk,
    } = this.#options;
    const clock = this.#clock(process);
    const random = Buffer.alloc(8);
    random.writeUInt32BE(this.#options.seed >>> 0);
    random.writeUInt32BE(this.counted.processes, 4);
    return {
      fileSystem: withoutGuard(process, this.disk),
      clock,
      names: createNameSource({ clock, host: "post.example", random }),
      known: createKnownMailboxes(),
      root: mailRoot,
      openFileSystemSync: async (directory) =>
        bulk ? withoutSyncGuard(this.#helper(process, directory)) : undefined,
      onEvent: (event) => {
        this.events.push(event);
        if (process.hasEnded) return;
        if (event.kind === "published") this.expectations.settled(event.ids);
        if (event.kind === "orphaned") this.expectations.orphans(event.ids);
      },
    };
  }

  #helper(process: SimProcess, directory: string): FileSystemSync {
    const sync = this.disk.openSync(process, directory);
    let failed = false;
    return {
      sync: async () => {
        try {
          await sync(directory);
        } catch (error) {
          failed = true;
          throw error;
        }
      },
      get usable() {
        return !failed;
      },
      close: async () => {},
    };
  }

  async send(committer: JournalCommitter, batches: number, process: SimProcess): Promise<void> {
    for (let batch = 0; batch < batches; batch += 1) {
      const max = this.random.below(4) === 0 ? 12 : 4;
      const deliveries = Array.from({ length: 1 + this.random.below(max) }, () => this.delivery());
      const results = await committer.commit(deliveries);
      if (process.hasEnded) return;
      for (const [index, result] of results.entries()) {
        this.expectations.answered(deliveries[index]!, result.ok ? result.id : undefined);
      }
      for (let rest = this.random.below(12); rest > 0; rest -= 1) await oneTurn();
    }
  }

  delivery(chosen?: string): Delivery {
    return draw(this.expectations, this.random, chosen);
  }

  /** Waits until the work is done or the process has ended. */
  async untilEnd(process: SimProcess, work: () => Promise<void>): Promise<void> {
    let isDone = false;
    const working = work().then(
      () => {
        isDone = true;
      },
      (error: unknown) => {
        isDone = true;
        const hadEnded = process.hasEnded;
        process.kill();
        if (!hadEnded) throw error;
      },
    );
    while (!isDone && !process.hasEnded) await oneTurn();
    if (isDone) await working;
  }

  /** A clock that advances with each turn of the event loop, until the process has ended. */
  #clock(process: SimProcess): Clock {
    const timers = new Set<{ readonly dueMs: number; readonly callback: () => void }>();
    let nowMs = 0;
    let isTicking = false;
    const tick = () => {
      isTicking = false;
      if (process.hasEnded || timers.size === 0) return;
      const nextMs = Math.min(...[...timers].map(({ dueMs }) => dueMs));
      nowMs += Math.max(5, Math.floor((nextMs - nowMs) / 20));
      for (const timer of [...timers]) {
        if (timer.dueMs > nowMs) continue;
        timers.delete(timer);
        timer.callback();
      }
      if (timers.size > 0) start();
    };
    const start = () => {
      if (isTicking) return;
      isTicking = true;
      setImmediate(tick);
    };
    return {
      now: () => nowMs,
      wallTimeMs: () => this.disk.clockMs,
      setTimeout: (callback, delayMs) => {
        const timer = { dueMs: nowMs + delayMs, callback };
        timers.add(timer);
        start();
        return timer;
      },
      clearTimeout: (timer) => timers.delete(timer as never),
      setImmediate: (callback) => void setImmediate(callback),
    };
  }

  #failSomeCalls(): void {
    const errno = ["EIO", "ENOSPC", "EACCES", "EXDEV", "EDQUOT"][this.random.below(5)]!;
    const first = this.disk.operations + this.random.below(200);
    const last = first + [0, 0, 1, 3, 10, 1000][this.random.below(6)]!;
    const failing = [
      ["pwrite"],
      ["rename"],
      ["write", "fsync", "fdatasync", "syncfs"],
      ["fsync", "rename", "open", "write", "pwrite", "lstat", "mkdir"],
    ][this.random.below(4)]!;
    this.disk.faults = [
      {
        errno,
        matches: ({ number, name }) => number >= first && number <= last && failing.includes(name),
      },
    ];
  }
}

/** All staging directories on the disk. */
export function stagingOn(disk: SimDisk): string[] {
  return [mailRoot, secondVolume].flatMap((directory) =>
    [...(disk.inodeAt(directory)?.names.keys() ?? [])]
      .filter((name) => name.startsWith(".postbag-"))
      .map((name) => `${directory}/${name}`),
  );
}

function oneTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
