/**
 * Recovery of all mail file systems the log speaks of, each on its own.
 *
 * One that is missing, not the right one, full or read-only holds up nobody else: what it is owed stays
 * in the log, mail for it is refused for the time being, and it is tried again until it works.
 */
import type { Recovery } from "../../journal/index.ts";
import type { Clock, FileSystem } from "../../system/index.ts";
import type { RecoveryReport } from "../committer.ts";
import type { VolumePublishers } from "../publishing/volume-publishers.ts";
import type { Volumes } from "../volumes/volumes.ts";
import { type Counts, indexOf, type LogIndex, replayVolume } from "./replay.ts";

export interface RecovererTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly root: string | undefined;
  readonly volumes: Volumes;
  readonly publishers: VolumePublishers;
}

const retryMs = 5000;

export class Recoverer {
  readonly #recovery: Recovery;
  readonly #tools: RecovererTools;
  readonly #unavailable = new Map<string, string>();
  #closed = false;
  #counts: Counts = {};
  #swept = 0;
  #wake = new Set<() => void>();

  constructor(recovery: Recovery, tools: RecovererTools) {
    this.#recovery = recovery;
    this.#tools = tools;
  }

  /**
   * Recovers what can be recovered now, and goes on trying the rest.
   *
   * @param later Told each time one of the rest has been recovered.
   * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when a frame is not understood: nothing was touched.
   */
  async run(later: (report: RecoveryReport) => void): Promise<RecoveryReport> {
    const index = await indexOf(this.#recovery.frames);
    let isOpen = true;
    await Promise.all(
      [...index.volumes.keys()].map(async (id) => {
        const stalled = Promise.withResolvers<void>();
        const done = this.#recover(id, index, stalled.resolve).then(
          () => isOpen || later(this.report),
          stalled.reject,
        );
        await Promise.race([done, stalled.promise]);
      }),
    );
    isOpen = false;
    return this.report;
  }

  get report(): RecoveryReport {
    const count = (step: keyof Counts) => this.#counts[step] ?? 0;
    return {
      restored: count("stage again"),
      finished: count("publish") + count("remove from staging"),
      skipped: count("flush names"),
      swept: this.#swept,
      damage: this.#recovery.damage,
      unavailable: [...this.#unavailable].map(([home, reason]) => ({ home, reason })),
    };
  }

  /** Gives up trying; what is owed stays in the log. */
  close(): void {
    this.#closed = true;
    for (const wake of this.#wake) wake();
  }

  async #recover(id: string, index: LogIndex, stalled: () => void): Promise<void> {
    const { volumes, publishers, fileSystem, root } = this.#tools;
    const { frames, marks, damage } = this.#recovery;
    const { stored, starts } = index.volumes.get(id)!;
    const home = volumes.homeOfStored(stored);
    const persist = async <Value>(action: () => Value | Promise<Value>): Promise<Value> => {
      for (;;) {
        if (this.#closed) throw new Closed();
        try {
          return await action();
        } catch (error) {
          this.#unavailable.set(home, error instanceof Error ? error.message : String(error));
          stalled();
          await this.#pause();
        }
      }
    };
    try {
      const volume = await persist(() => volumes.openKnown(stored, starts));
      const { staging, publisher } = publishers.open(volume);
      const owed = marks.get(id) ?? { durable: 0n, published: 0n };
      const tools = { fileSystem, root, staging, publisher, marks: owed, persist };
      const counts = await replayVolume(id, frames, index, tools);
      this.#add(counts);
      this.#swept += await persist(() => staging.sweep(publisher.stagedNames, damage.length === 0));
      publisher.goLive();
      volumes.admit(volume);
      this.#unavailable.delete(home);
    } catch (error) {
      if (!(error instanceof Closed)) throw error;
    }
  }

  #add(counts: Counts): void {
    for (const [step, count] of Object.entries(counts) as [keyof Counts, number][]) {
      this.#counts[step] = (this.#counts[step] ?? 0) + count;
    }
  }

  #pause(): Promise<void> {
    const { clock } = this.#tools;
    return new Promise((resolve) => {
      const wake = () => {
        clock.clearTimeout(timer);
        this.#wake.delete(wake);
        resolve();
      };
      const timer = clock.setTimeout(wake, retryMs);
      this.#wake.add(wake);
      if (this.#closed) wake();
    });
  }
}

class Closed extends Error {
  override readonly name = "Closed";
}
