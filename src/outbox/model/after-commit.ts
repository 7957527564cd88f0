/**
 * Announces to workers the lanes of mail in a transaction of the application; a lane is a queue of
 * its own for one kind of delivery. Both stores call it. A store does not learn when the
 * transaction commits, so it announces after 5, 55 and 305 ms. Most transactions have ended by
 * then, and waiting workers poll anyway.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Lane, NewMessage } from "./rows.ts";

/** The pause before each of the announcements, in milliseconds. */
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

  /** Starts the announcements anew, for the lanes of these messages and of those before. */
  expect(messages: readonly NewMessage[]): void {
    for (const { lane } of messages) this.#lanes.add(lane);
    const isFirstAhead = this.#timer !== undefined && this.#announced === 0;
    if (isFirstAhead) return; // If each transaction postponed the first one, it might never come.
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
