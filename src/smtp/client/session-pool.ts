/**
 * Keeps the sessions of one route: opens no more than it may, uses each for many messages, and lets idle
 * ones go. It never sends anything by itself.
 */
import type { Clock, TimerHandle } from "../../system/index.ts";
import type { Session } from "./session.ts";

export interface KeeperOptions {
  readonly open: (signal: AbortSignal) => Promise<Session>;
  readonly maxConnections: number;
  readonly maxMessagesPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
}

interface Waiter {
  readonly take: () => void;
}

export class SessionKeeper {
  readonly #options: KeeperOptions;
  readonly #idle: Session[] = [];
  readonly #waiting: Waiter[] = [];
  #inUse = 0;
  #idleTimer: TimerHandle;
  #closed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  stats(): { readonly inUse: number; readonly idle: number; readonly waiting: number } {
    return { inUse: this.#inUse, idle: this.#idle.length, waiting: this.#waiting.length };
  }

  /** Whether nothing is open and nobody waits. */
  get empty(): boolean {
    return this.#inUse === 0 && this.#idle.length === 0 && this.#waiting.length === 0;
  }

  /**
   * Runs `work` with a session that nobody else uses; first come, first served.
   *
   * @throws {RouteFailure} When no session can be opened. The signal's reason when it aborts in the wait.
   */
  async use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    await this.#turn(signal);
    let session: Session | undefined;
    try {
      session = this.#takeIdle() ?? (await this.#options.open(signal));
      return await work(session);
    } finally {
      if (session) this.#giveBack(session);
      this.#inUse -= 1;
      this.#waiting.shift()?.take();
    }
  }

  /** Lets idle sessions go; those in use go when their work ends. */
  close(): void {
    this.#closed = true;
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

  #takeIdle(): Session | undefined {
    for (;;) {
      const session = this.#idle.pop();
      if (session === undefined || session.usable) return session;
      session.close();
    }
  }

  #giveBack(session: Session): void {
    const spent = session.transactions >= this.#options.maxMessagesPerConnection;
    if (!session.usable) session.close();
    else if (spent || this.#closed) session.quit();
    else this.#idle.push(session);
    this.#watchIdle();
  }

  /** One timer for all: idle sessions go when none was given back for that long. */
  #watchIdle(): void {
    const { clock, idleTimeoutMs } = this.#options;
    if (this.#idleTimer !== undefined) clock.clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
    if (this.#idle.length === 0) return;
    this.#idleTimer = clock.setTimeout(() => this.#quitIdle(), idleTimeoutMs);
  }

  #quitIdle(): void {
    for (const session of this.#idle.splice(0)) session.quit();
    this.#watchIdle();
  }
}
