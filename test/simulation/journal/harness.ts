/**
 * A journal on a simulated disk: frames arrive, volumes publish, segments are reused, until the
 * power is cut, the process is killed, or a call fails.
 */
import { Journal, JournalError } from "../../../src/journal/index.ts";
import type { Clock, FileSystem } from "../../../src/system/index.ts";
import { systemClock } from "../../../src/system/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { SimDisk } from "../../support/sim-disk/disk.ts";
import type { SimProcess } from "../../support/sim-disk/process.ts";
import { JournalExpectations, type SentFrame } from "./expectations.ts";

export const directory = "/var/journal";
const volumes = ["fs-a", "fs-b"];

export interface HarnessOptions {
  readonly seed: number;
  /** Lets some calls fail. */
  readonly faulty?: boolean;
  readonly maxSegments?: number;
}

export class JournalHarness {
  readonly expectations = new JournalExpectations();
  readonly random: SeededRandom;
  disk: SimDisk;
  /** Files left open by a process that closed its journal. */
  readonly leftOpen: string[] = [];
  /** Counts for the report at the end of a run. */
  readonly counted = { processes: 0, refusedFull: 0, refusedWrite: 0, notOpened: 0 };
  readonly #options: HarnessOptions;
  #texts = 0;

  constructor(options: HarnessOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.disk = new SimDisk(this.random);
  }

  /** Runs one process, which opens the journal and works for so many turns or until it is ended. */
  async runProcess(turns: number): Promise<void> {
    this.counted.processes += 1;
    const process = this.disk.start();
    if (this.#options.faulty) this.#addFaults();
    const journal = await this.#open(process);
    if (journal) await this.#work(journal, process, turns);
    this.disk.faults = [];
    this.expectations.processEnded();
    if (process.isDead || this.disk.isOff) return;
    this.leftOpen.push(...process.openFiles);
    process.kill();
  }

  /** Cuts the power, and continues with one of the disk states that may follow. */
  cutPower(): void {
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
      // The check is no operation of the process.
      if (!isEnded()) {
        this.disk.cutAt = undefined;
        this.disk.killAt = undefined;
        await this.expectations.verify(recovery, journal.id, journal.starts);
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
    const calls: Promise<unknown>[] = [];
    for (let turn = 0; turn < turns && !isEnded(); turn += 1) {
      calls.push(...this.#turn(journal, isEnded));
      for (let rest = this.random.below(4); rest > 0 && !isEnded(); rest -= 1) await oneTurn();
    }
    if (isEnded()) return;
    let isClosed = false;
    const closed = journal.close().finally(() => {
      isClosed = true;
    });
    while (!isEnded() && !isClosed) await oneTurn();
    if (!isEnded()) await Promise.all([closed, ...calls]);
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
    const frame = this.expectations.send(`frame ${this.#texts} `.padEnd(size, "x"), chosen);
    const [head, tail] = [frame.text.slice(0, 10), frame.text.slice(10)];
    const reserved = this.random.below(12) === 0;
    try {
      const parts = [Buffer.from(head), Buffer.from(tail)];
      const lsn = await journal.append(parts, chosen, { reserved });
      this.expectations.acknowledge(frame, lsn);
    } catch (error) {
      this.#refused(frame, error, isEnded());
    }
  }

  #refused(frame: SentFrame, error: unknown, isEnded: boolean): void {
    if (!(error instanceof JournalError)) throw error;
    if (error.code === "ERR_JOURNAL_WRITE_FAILED") {
      this.counted.refusedWrite += 1;
      if (!isEnded) this.expectations.refused.add(frame);
      return;
    }
    if (error.code === "ERR_JOURNAL_FULL") this.counted.refusedFull += 1;
    this.expectations.makeVoid(frame);
  }

  /** Stages, then publishes the frames of a volume, or some of them. */
  async #publish(journal: Journal, volume: string): Promise<void> {
    const waiting = this.expectations.unpublished(volume);
    const upTo = waiting[this.random.below(waiting.length + 1)]?.lsn ?? waiting.at(-1)?.lsn;
    if (upTo === undefined) return;
    const withinMs = this.random.below(3) === 0 ? 2 : 0;
    for (const marks of [{ durable: upTo }, { published: upTo }]) {
      this.expectations.requestMarks(volume, marks);
      try {
        await journal.mark(volume, marks, { withinMs });
      } catch (error) {
        if ((error as JournalError).code === "ERR_JOURNAL_CLOSED") return;
        throw error;
      }
      this.expectations.storeMarks(volume, marks);
      this.expectations.voidRefused();
    }
  }

  /** Timers fire after some turns, a bounded number of times, and not after the process ended. */
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

  #addFaults(): void {
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
