/**
 * Recovers all volumes that the log mentions, each on its own, when journal-committer.ts opens the
 * journal; replay.ts publishes the mail of one volume.
 *
 * A volume that is missing, not recognised, full or read-only delays no other: its mail stays in
 * the log, new mail for it is refused, and its recovery is tried again every five seconds until it
 * succeeds.
 */
import type { Recovery } from "../../journal/index.ts";
import { type Clock, type FileSystem, invariant } from "../../system/index.ts";
import type { RecoveryReport } from "../committer.ts";
import type { VolumePublishers } from "../publishing/volume-publishers.ts";
import type { Volumes } from "../volumes/volumes.ts";
import type { NextStep } from "./next-step.ts";
import { type Counts, indexOf, type LogIndex, replayVolume } from "./replay.ts";

interface RecovererTools {
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
  /** Why a volume is not recovered yet, by its directory. */
  readonly #unavailable = new Map<string, string>();
  #isClosed = false;
  readonly #counts = new Map<NextStep, number>();
  #swept = 0;
  /** Each ends one pause before a next try; called by `close`. */
  readonly #wake = new Set<() => void>();

  constructor(recovery: Recovery, tools: RecovererTools) {
    this.#recovery = recovery;
    this.#tools = tools;
  }

  /**
   * Recovers the volumes whose first attempt succeeds, and goes on trying the others after the
   * promise has resolved.
   *
   * @param onRecovered Called each time one of the other volumes has been recovered.
   * @throws {DeliveryError} ERR_DELIVERY_JOURNAL for an unreadable frame: nothing was changed.
   */
  async run(onRecovered: (report: RecoveryReport) => void): Promise<RecoveryReport> {
    const index = await indexOf(this.#recovery.frames);
    let isStarting = true;
    await Promise.all(
      [...index.volumes.keys()].map(async (id) => {
        const stalled = Promise.withResolvers<void>();
        const done = this.#recover(id, index, stalled.resolve).then(
          () => isStarting || onRecovered(this.report),
          stalled.reject,
        );
        await Promise.race([done, stalled.promise]);
      }),
    );
    isStarting = false;
    return this.report;
  }

  /** What recovery has done so far. */
  get report(): RecoveryReport {
    const count = (step: NextStep) => this.#counts.get(step) ?? 0;
    return {
      restored: count("stage again"),
      finished: count("publish") + count("remove from staging"),
      skipped: count("flush names"),
      swept: this.#swept,
      damage: this.#recovery.damage,
      unavailable: [...this.#unavailable].map(([directory, reason]) => ({ directory, reason })),
    };
  }

  /** Stops trying; mail not published yet stays in the log. */
  close(): void {
    this.#isClosed = true;
    for (const wake of this.#wake) wake();
  }

  /** Recovers one volume. @param onStalled Called each time an attempt fails, before the next. */
  async #recover(id: string, index: LogIndex, onStalled: () => void): Promise<void> {
    const { volumes, publishers, fileSystem, root } = this.#tools;
    const { frames, marks, damage } = this.#recovery;
    const indexed = index.volumes.get(id);
    invariant(indexed !== undefined, "a volume to recover is in the index");
    const { stored, starts } = indexed;
    const directory = volumes.directoryOf(stored);
    const untilDone = <Value>(action: () => Value | Promise<Value>) =>
      this.#untilDone(action, (reason) => {
        this.#unavailable.set(directory, reason);
        onStalled();
      });
    try {
      const volume = await untilDone(() => volumes.openKnown(stored, starts));
      const { staging, publisher } = publishers.open(volume);
      const logged = marks.get(id) ?? { durable: 0n, published: 0n };
      const tools = { fileSystem, root, staging, publisher, marks: logged, untilDone };
      this.#add(await replayVolume(id, frames, index, tools));
      this.#swept += await untilDone(() =>
        staging.sweep(publisher.stagedNames, damage.length === 0),
      );
      publisher.goLive();
      volumes.admit(volume);
      this.#unavailable.delete(directory);
    } catch (error) {
      if (!(error instanceof Closed)) throw error;
    }
  }

  /** Repeats an action until it succeeds. @throws {Closed} when the recoverer was closed */
  async #untilDone<Value>(
    action: () => Value | Promise<Value>,
    onFailure: (reason: string) => void,
  ): Promise<Value> {
    for (;;) {
      if (this.#isClosed) throw new Closed();
      try {
        return await action();
      } catch (error) {
        onFailure(error instanceof Error ? error.message : String(error));
        await this.#pause();
      }
    }
  }

  #add(counts: Counts): void {
    for (const [step, count] of counts) {
      this.#counts.set(step, (this.#counts.get(step) ?? 0) + count);
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
      if (this.#isClosed) wake();
    });
  }
}

class Closed extends Error {
  override readonly name = "Closed";
}
