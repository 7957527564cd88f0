/**
 * Announces mail that is part of a transaction of the application. The store does not learn when
 * that commits, so it announces the mail a moment later and then again. Most transactions have
 * ended by then, and waiters poll anyway.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Lane, NewMessage } from "./rows.ts";

/** Pauses before each announcement, in milliseconds. */
const pausesMs = [5, 50, 250];

export class AfterCommit {
  readonly #clock: Clock;
  readonly #announce: (mail: readonly Pick<NewMessage, "lane">[]) => void;
  readonly #lanes = new Set<Lane>();
  #timer: TimerHandle;
  /** Announcements made since the timers were started. */
  #announced = 0;

  constructor(clock: Clock, announce: (mail: readonly Pick<NewMessage, "lane">[]) => void) {
    this.#clock = clock;
    this.#announce = announce;
  }

  /** Starts the announcements anew, for these messages and those announced at present. */
  expect(messages: readonly NewMessage[]): void {
    for (const { lane } of messages) this.#lanes.add(lane);
    const isFirstAhead = this.#timer !== undefined && this.#announced === 0;
    if (isFirstAhead) return; // Postponed by each transaction, it would never come.
    this.close();
    this.#schedule();
  }

  /** Ends all announcements. */
  close(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#announced = 0;
  }

  #schedule(): void {
    const pauseMs = pausesMs[this.#announced];
    if (pauseMs === undefined) {
      this.close();
      this.#lanes.clear();
      return;
    }
    this.#timer = this.#clock.setTimeout(() => {
      this.#announced += 1;
      this.#announce([...this.#lanes].map((lane) => ({ lane })));
      this.#schedule();
    }, pauseMs);
  }
}
