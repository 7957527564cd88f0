/**
 * Opens something that may not open at the start: the journal on a full, failing or read-only disk,
 * the outbox while its database does not answer. The server runs without it, answers with 451,
 * reports the reason, and tries again until it succeeds. A server that ended instead would be
 * restarted every few seconds, and `/readyz` could not report the reason.
 */
import type { Clock, TimerHandle } from "../system/index.ts";

export interface RetryingOpenerOptions<T> {
  readonly open: () => Promise<T>;
  /**
   * Whether an error of the first try may pass by itself. Later tries are repeated after any error.
   */
  readonly isTemporary: (error: unknown) => boolean;
  /** Receives the error of a try, unless the try before failed for the same reason. */
  readonly onFailure: (error: unknown) => void;
  /** Receives the result of a later try. Not called after {@link RetryingOpener.stop}. */
  readonly onOpened: (opened: T) => void;
  readonly clock: Clock;
}

const retryMs = 5_000;

/** States: opened; waiting for the next try; trying; stopped, with or without something opened. */
export class RetryingOpener<T> {
  readonly #options: RetryingOpenerOptions<T>;
  #opened: T | undefined;
  #reason: string | undefined;
  #try: Promise<void> | undefined;
  #timer: TimerHandle;
  #isStopped = false;

  /**
   * Makes the first try, and goes on trying in the background when its error is temporary.
   *
   * @throws the error of the first try, when it is not temporary.
   */
  static async open<T>(options: RetryingOpenerOptions<T>): Promise<RetryingOpener<T>> {
    const opener = new RetryingOpener(options);
    try {
      opener.#opened = await options.open();
    } catch (error) {
      if (!options.isTemporary(error)) throw error;
      opener.#retryAfter(error);
    }
    return opener;
  }

  private constructor(options: RetryingOpenerOptions<T>) {
    this.#options = options;
  }

  /** The result of `open`; `undefined` until a try succeeds. */
  get opened(): T | undefined {
    return this.#opened;
  }

  /** Why the last try failed; `undefined` once opened. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Ends the tries; resolves with the result, after a try in progress has ended. Idempotent. */
  async stop(): Promise<T | undefined> {
    this.#isStopped = true;
    this.#options.clock.clearTimeout(this.#timer);
    await this.#try;
    return this.#opened;
  }

  #retryAfter(error: unknown): void {
    const { clock, onFailure } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    if (reason !== this.#reason) onFailure(error);
    this.#reason = reason;
    if (this.#isStopped) return;
    this.#timer = clock.setTimeout(() => {
      this.#try = this.#tryAgain();
    }, retryMs);
  }

  async #tryAgain(): Promise<void> {
    const { open, onOpened } = this.#options;
    try {
      this.#opened = await open();
    } catch (error) {
      return this.#retryAfter(error);
    }
    this.#reason = undefined;
    if (!this.#isStopped) onOpened(this.#opened);
  }
}
