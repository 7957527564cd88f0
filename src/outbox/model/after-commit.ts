/**
 * Tells of mail that lies in a transaction of the application's. Nobody says when that commits, so it is
 * told a moment later and then again: most transactions are over by then, and who waits polls all the same.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Lane, NewMessage } from "./rows.ts";

/** Pauses before each time it is told, in milliseconds. */
const pausesMs = [5, 50, 250];

export class AfterCommit {
  readonly #clock: Clock;
  readonly #tell: (mail: readonly Pick<NewMessage, "lane">[]) => void;
  readonly #lanes = new Set<Lane>();
  #timer: TimerHandle;
  #told = 0;

  constructor(clock: Clock, tell: (mail: readonly Pick<NewMessage, "lane">[]) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Begins to tell of these, along with those that are being told of. */
  expect(messages: readonly NewMessage[]): void {
    for (const { lane } of messages) this.#lanes.add(lane);
    const isFirstAhead = this.#timer !== undefined && this.#told === 0;
    if (isFirstAhead) return; // Put off each time, it would never come.
    this.close();
    this.#schedule();
  }

  /** Tells nothing more. */
  close(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#told = 0;
  }

  #schedule(): void {
    const pauseMs = pausesMs[this.#told];
    if (pauseMs === undefined) {
      this.close();
      this.#lanes.clear();
      return;
    }
    this.#timer = this.#clock.setTimeout(() => {
      this.#told += 1;
      this.#tell([...this.#lanes].map((lane) => ({ lane })));
      this.#schedule();
    }, pauseMs);
  }
}
