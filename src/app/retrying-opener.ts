/**
 * An executor that may open late: while a full, failing or read-only disk keeps the journal from being
 * opened, the server runs without one, puts all mail off, says why, and tries again until it can.
 * A server that ended instead would be started again every few seconds, and nobody could ask it why.
 */
import type { DeliveryExecutor, DeliveryStats } from "../delivery/index.ts";
import type { Clock } from "../system/index.ts";
import { AppError } from "./errors.ts";
import type { Logger } from "./observe/log.ts";

export interface LateExecutorOptions {
  /** Opens the executor; an {@link AppError} `ERR_APP_JOURNAL_NOT_NOW` is tried again. */
  readonly open: () => Promise<DeliveryExecutor>;
  readonly clock: Clock;
  readonly log: Pick<Logger, "info" | "error">;
}

const retryMs = 5_000;

const nothing: DeliveryStats = {
  pending: 0,
  pendingBytes: 0,
  waiting: 0,
  flushesInProgress: 0,
  delivered: 0,
  failed: 0,
  batches: 0,
  accepting: false,
  unpublished: 0,
  oldestUnpublishedMs: 0,
};

export class LateExecutor {
  readonly #options: LateExecutorOptions;
  #executor: DeliveryExecutor | undefined;
  #obstacle: string | undefined;
  #attempt: Promise<void> | undefined;
  #timer: unknown;
  #isClosed = false;

  /**
   * Opens it, or goes on trying.
   *
   * @throws what `open` rejects with, when it cannot pass by itself.
   */
  static async open(options: LateExecutorOptions): Promise<LateExecutor> {
    const late = new LateExecutor(options);
    try {
      late.#executor = await options.open();
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "ERR_APP_JOURNAL_NOT_NOW") throw error;
      late.#isLate(error);
    }
    return late;
  }

  private constructor(options: LateExecutorOptions) {
    this.#options = options;
  }

  /** The executor, as soon as there is one. */
  get executor(): DeliveryExecutor | undefined {
    return this.#executor;
  }

  /** Why there is none. */
  get obstacle(): string | undefined {
    return this.#obstacle;
  }

  stats(): DeliveryStats {
    return this.#executor?.stats() ?? nothing;
  }

  /** Gives up trying, or closes the executor as it does itself. Idempotent. */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#isClosed = true;
    this.#options.clock.clearTimeout(this.#timer);
    await this.#attempt;
    await this.#executor?.close(options);
  }

  #isLate(error: unknown): void {
    const { clock, log } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    if (reason !== this.#obstacle) {
      log.error({ reason }, "mail is put off with 451 until the journal can be used");
    }
    this.#obstacle = reason;
    if (this.#isClosed) return;
    this.#timer = clock.setTimeout(() => {
      this.#attempt = this.#try();
    }, retryMs);
  }

  async #try(): Promise<void> {
    try {
      this.#executor = await this.#options.open();
    } catch (error) {
      return this.#isLate(error);
    }
    this.#obstacle = undefined;
    this.#options.log.info("the journal can be used, mail is taken");
  }
}
