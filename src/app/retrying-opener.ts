/**
 * Opens the journal (for inbound/engine.ts) or the outbox (for outbound/outbound.ts), and retries
 * every five seconds after a temporary failure, such as a full disk or a database that is down.
 *
 * Until a try succeeds the server runs, answers the mail that needs the journal or outbox with 451,
 * and reports the reason in `/readyz`. A server that ended instead would be restarted every few
 * seconds, and `/readyz` could not report the reason.
 */
import type { Clock, TimerHandle } from "../system/index.ts";

export interface RetryingOpenerOptions<T> {
  /** Called once for each try. */
  readonly open: () => Promise<T>;
  /**
   * Whether an error of the first try may pass by itself; if not, {@link RetryingOpener.open}
   * rejects. After the first try every error is retried.
   */
  readonly isTemporary: (error: unknown) => boolean;
  /** Receives the error of a try, unless the previous try failed with the same message. */
  readonly onFailure: (error: unknown) => void;
  /**
   * Receives the result when a try after the first succeeds. Not called after
   * {@link RetryingOpener.stop}.
   */
  readonly onOpened: (opened: T) => void;
  readonly clock: Clock;
}

const retryMs = 5_000;

/** States: opened; waiting for the next try; trying; stopped, with or without a result. */
export class RetryingOpener<T> {
  readonly #options: RetryingOpenerOptions<T>;
  #opened: T | undefined;
  #reason: string | undefined;
  #try: Promise<void> | undefined;
  #timer: TimerHandle;
  #isStopped = false;

  /**
   * Resolves after the first try. If that failed with a temporary error, the opener retries in the
   * background.
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

  /** The result of the option `open`; `undefined` until a try succeeds. */
  get opened(): T | undefined {
    return this.#opened;
  }

  /** Why the last try failed; `undefined` once a try has succeeded. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /**
   * Ends the tries, and waits for a try in progress. Resolves with the result if a try has
   * succeeded. Idempotent.
   */
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
