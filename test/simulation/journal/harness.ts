/**
 * A journal on a simulated disk: frames arrive, volumes publish, segments are used again, and somewhere
 * the power is cut, the process killed, or a call fails.
 */
import { Journal, JournalError } from "../../../src/journal/index.ts";
import type { Clock, FileSystem } from "../../../src/system/index.ts";
import { systemClock } from "../../../src/system/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { SimDisk } from "../../support/sim-disk/disk.ts";
import type { SimProcess } from "../../support/sim-disk/process.ts";
import { Ledger, type SentFrame } from "./expectations.ts";

export const directory = "/var/journal";
const volumes = ["fs-a", "fs-b"];

export interface WorldOptions {
  readonly seed: number;
  /** Lets calls fail now and then. */
  readonly faulty?: boolean;
  readonly maxSegments?: number;
}

export class World {
  readonly ledger = new Ledger();
  readonly random: SeededRandom;
  disk: SimDisk;
  /** Files left open by a process that closed its journal. */
  readonly leftOpen: string[] = [];
  /** How lives went, for the account at the end of a run. */
  readonly counted = { lives: 0, refusedFull: 0, refusedWrite: 0, notOpened: 0 };
  readonly #options: WorldOptions;
  #texts = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = new SimDisk(this.random);
  }

  /** One process opens the journal and works for so many turns, or until its end. */
  async live(turns: number): Promise<void> {
    this.counted.lives += 1;
    const process = this.disk.start();
    if (this.#options.faulty) this.#breakSomething();
    const journal = await this.#open(process);
    if (journal) await this.#work(journal, process, turns);
    this.disk.faults = [];
    this.ledger.loseProcess();
    if (process.isDead || this.disk.isOff) return;
    this.leftOpen.push(...process.openFiles);
    process.kill();
  }

  /** Cuts the power, and goes on with one of the disks that a machine may find afterwards. */
  loseLife(): void {
    if (!this.disk.isOff) this.disk.cut();
    this.disk = this.disk.afterCut();
  }

  async #open(process: SimProcess): Promise<Journal | undefined> {
    const isEnded = () => process.isDead || this.disk.isOff;
    const { maxSegments = 6 } = this.#options;
    try {
      const { journal, recovery } = await Journal.open({
        directory,
        fileSystem: process as FileSystem,
        clock: this.#clock(isEnded),
        segmentBytes: 24 * 1024,
        maxSegments,
        retryMs: 3,
      });
      const { cutAt, killAt } = this.disk;
      // Looking is no operation of the process; only what it returned counts.
      if (!isEnded()) {
        this.disk.cutAt = undefined;
        this.disk.killAt = undefined;
        await this.ledger.verify(recovery, journal.id, journal.starts);
        this.disk.cutAt = cutAt === undefined ? undefined : Math.max(cutAt, this.disk.instants + 1);
        this.disk.killAt =
          killAt === undefined ? undefined : Math.max(killAt, this.disk.instants + 1);
      }
      return journal;
    } catch (error) {
      if (isEnded()) return undefined;
      if (!(error instanceof JournalError) || !this.#options.faulty) throw error;
      this.counted.notOpened += 1;
      return undefined;
    }
  }

  async #work(journal: Journal, process: SimProcess, turns: number): Promise<void> {
    const isEnded = () => process.isDead || this.disk.isOff;
    const under: Promise<unknown>[] = [];
    for (let turn = 0; turn < turns && !isEnded(); turn += 1) {
      under.push(...this.#turn(journal, isEnded));
      for (let rest = this.random.below(4); rest > 0 && !isEnded(); rest -= 1) await oneTurn();
    }
    if (isEnded()) return;
    let isClosed = false;
    const closed = journal.close().finally(() => {
      isClosed = true;
    });
    while (!isEnded() && !isClosed) await oneTurn();
    if (!isEnded()) await Promise.all([closed, ...under]);
  }

  #turn(journal: Journal, isEnded: () => boolean): Promise<unknown>[] {
    const choice = this.random.below(10);
    if (choice < 5) {
      return Array.from({ length: 1 + this.random.below(2) }, () => this.#append(journal, isEnded));
    }
    const volume = volumes[this.random.below(volumes.length)]!;
    if (choice < 9) return [this.#publish(journal, volume)];
    return [journal.recovered().catch(() => undefined)];
  }

  async #append(journal: Journal, isEnded: () => boolean): Promise<void> {
    const chosen = [volumes.slice(0, 1), volumes.slice(1), volumes][this.random.below(3)]!;
    this.#texts += 1;
    const size = [20, 300, 3000, 9000][this.random.below(4)]!;
    const frame = this.ledger.send(`frame ${this.#texts} `.padEnd(size, "x"), chosen);
    const [head, tail] = [frame.text.slice(0, 10), frame.text.slice(10)];
    const reserved = this.random.below(12) === 0;
    try {
      const parts = [Buffer.from(head), Buffer.from(tail)];
      const lsn = await journal.append(parts, chosen, { reserved });
      this.ledger.acknowledge(frame, lsn);
    } catch (error) {
      this.#refused(frame, error, isEnded());
    }
  }

  #refused(frame: SentFrame, error: unknown, isEnded: boolean): void {
    if (!(error instanceof JournalError)) throw error;
    if (error.code === "ERR_JOURNAL_WRITE_FAILED") {
      this.counted.refusedWrite += 1;
      if (!isEnded) this.ledger.refused.add(frame);
      return;
    }
    if (error.code === "ERR_JOURNAL_FULL") this.counted.refusedFull += 1;
    this.ledger.makeVoid(frame);
  }

  /** Stages, then publishes what is in the log for a volume, or a part of it. */
  async #publish(journal: Journal, volume: string): Promise<void> {
    const waiting = this.ledger.unpublished(volume);
    const upTo = waiting[this.random.below(waiting.length + 1)]?.lsn ?? waiting.at(-1)?.lsn;
    if (upTo === undefined) return;
    const withinMs = this.random.below(3) === 0 ? 2 : 0;
    for (const marks of [{ durable: upTo }, { published: upTo }]) {
      this.ledger.ask(volume, marks);
      try {
        await journal.mark(volume, marks, { withinMs });
      } catch (error) {
        if ((error as JournalError).code === "ERR_JOURNAL_CLOSED") return;
        throw error;
      }
      this.ledger.keep(volume, marks);
      this.ledger.acceptsAgain();
    }
  }

  /** Timers fire after some turns, a bounded number of times, and not for the dead. */
  #clock(isEnded: () => boolean): Clock {
    let left = 50;
    return {
      ...systemClock,
      setTimeout: (callback, delayMs) => {
        const timer = { isOn: true };
        const wait = (turns: number): void => {
          if (!timer.isOn || isEnded()) return;
          if (turns > 0) setImmediate(() => wait(turns - 1));
          else callback();
        };
        left -= 1;
        if (left > 0) wait(delayMs);
        return timer;
      },
      clearTimeout: (timer) => {
        if (timer) (timer as { isOn: boolean }).isOn = false;
      },
    };
  }

  #breakSomething(): void {
    const errno = ["EIO", "ENOSPC"][this.random.below(2)]!;
    const first = this.disk.operations + this.random.below(150);
    const last = first + [0, 1, 2, 4, 30, 1000][this.random.below(6)]!;
    const failing = [["pwrite"], ["pwrite", "fsync", "write"], ["fsync", "rename", "open"]][
      this.random.below(3)
    ]!;
    this.disk.faults = [
      {
        errno,
        matches: ({ number, name }) => number >= first && number <= last && failing.includes(name),
      },
    ];
  }
}

function oneTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
