/**
 * Pools the sessions of one route, the relay or one domain: limits how many are open, uses each for
 * many messages, and closes idle ones. A pool never sends a message again by itself.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { ClientSession } from "./session.ts";

export interface SessionPoolOptions {
  /** Opens a new session; called where no session is idle. */
  readonly open: (signal: AbortSignal) => Promise<ClientSession>;
  readonly maxConnections: number;
  readonly maxMessagesPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
}

interface SessionPoolStats {
  readonly inUse: number;
  readonly idle: number;
  /** Messages that wait for a session. */
  readonly waiting: number;
}

interface Waiter {
  readonly take: () => void;
}

export class SessionPool {
  readonly #options: SessionPoolOptions;
  readonly #idle: ClientSession[] = [];
  readonly #waiting: Waiter[] = [];
  #inUse = 0;
  #idleTimer: TimerHandle;
  #isClosed = false;

  constructor(options: SessionPoolOptions) {
    this.#options = options;
  }

  stats(): SessionPoolStats {
    return { inUse: this.#inUse, idle: this.#idle.length, waiting: this.#waiting.length };
  }

  /** Whether no session is open and no message waits for one. */
  get isEmpty(): boolean {
    return this.#inUse === 0 && this.#idle.length === 0 && this.#waiting.length === 0;
  }

  /**
   * Runs `work` with a session that no other call has meanwhile. Past `maxConnections` it waits;
   * waiting calls go on in their order.
   *
   * @throws {RouteFailure} When no session can be opened. The signal's reason when it aborts the
   *   wait.
   */
  async use<T>(signal: AbortSignal, work: (session: ClientSession) => Promise<T>): Promise<T> {
    await this.#turn(signal);
    let session: ClientSession | undefined;
    try {
      session = this.#takeIdle() ?? (await this.#options.open(signal));
      return await work(session);
    } finally {
      if (session) this.#release(session);
      this.#inUse -= 1;
      this.#waiting.shift()?.take();
    }
  }

  /** Closes idle sessions; those in use are closed when their work ends. */
  close(): void {
    this.#isClosed = true;
    this.#quitIdle();
  }

  async #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#inUse < this.#options.maxConnections && this.#waiting.length === 0) {
      this.#inUse += 1;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = {
      take: () => {
        this.#inUse += 1;
        resolve();
      },
    };
    const abort = () => {
      const position = this.#waiting.indexOf(waiter);
      if (position < 0) return;
      this.#waiting.splice(position, 1);
      reject(signal.reason);
    };
    this.#waiting.push(waiter);
    signal.addEventListener("abort", abort, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", abort));
  }

  #takeIdle(): ClientSession | undefined {
    for (;;) {
      const session = this.#idle.pop();
      if (session === undefined || session.isUsable) return session;
      session.close();
    }
  }

  #release(session: ClientSession): void {
    const isSpent = session.transactions >= this.#options.maxMessagesPerConnection;
    if (!session.isUsable) session.close();
    else if (isSpent || this.#isClosed) session.quit();
    else this.#idle.push(session);
    this.#setIdleTimer();
  }

  /** One timer for all idle sessions: it closes them `idleTimeoutMs` after the last release. */
  #setIdleTimer(): void {
    const { clock, idleTimeoutMs } = this.#options;
    if (this.#idleTimer !== undefined) clock.clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
    if (this.#idle.length === 0) return;
    this.#idleTimer = clock.setTimeout(() => this.#quitIdle(), idleTimeoutMs);
  }

  #quitIdle(): void {
    for (const session of this.#idle.splice(0)) session.quit();
    this.#setIdleTimer();
  }
}
