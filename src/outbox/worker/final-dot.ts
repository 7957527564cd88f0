/**
 * The gate before the final dot of an attempt, the dot by which a server accepts the message;
 * `attempt.ts` passes `grant` to the sender.
 *
 * A dot is granted only while the lease covers it and once its intent is durable: the attempt
 * without an outcome that shows later that the mail may have been sent. The gate is shut when the
 * attempt is over, so a sender that asks too late cannot send.
 */
import type { LeasedDelivery, WorkerContext } from "./context.ts";
import { LeaseLost } from "./leases.ts";

export class FinalDot {
  /**
   * `ahead`: no dot was granted or refused yet. `granted`: at least one was. `refused`: the first
   * request was refused, and none was granted.
   */
  state: "ahead" | "granted" | "refused" = "ahead";
  #isShut = false;
  readonly #writeIntent: () => Promise<void>;

  constructor(startedAtMs: number, leased: LeasedDelivery, context: WorkerContext) {
    this.#writeIntent = () => writeIntent(startedAtMs, leased, context);
  }

  /**
   * The sender's `beforeCommit`, which it calls before the final dot of each of its transactions;
   * a rejection refuses the dot.
   */
  readonly grant = async (): Promise<void> => {
    try {
      this.#checkOpen();
      await this.#writeIntent();
      this.#checkOpen();
      this.state = "granted";
    } catch (error) {
      // A dot granted before stays granted: a server may have accepted that transaction's message.
      if (this.state === "ahead") this.state = "refused";
      throw error;
    }
  };

  /** Refuses every dot from now on. */
  shut(): void {
    this.#isShut = true;
  }

  #checkOpen(): void {
    if (this.#isShut) throw new LeaseLost("the attempt is over");
  }
}

/** Makes the intent durable; throws when the dot must not be sent. */
async function writeIntent(
  startedAtMs: number,
  { claimed, held }: LeasedDelivery,
  { settings, leases }: WorkerContext,
): Promise<void> {
  const { store, clock, name, intents, onEvent } = settings;
  if (held.signal.aborted) throw held.signal.reason;
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
  if (!intents) return;
  const { delivery, token } = claimed;
  const elapsedMs = clock.now() - startedAtMs;
  const [isValid] = await store
    .intend([{ delivery, token, worker: name, elapsedMs }])
    .catch((error) => {
      onEvent({ kind: "store-failed", doing: "intend", error });
      throw error;
    });
  if (!isValid) throw new LeaseLost("the lease was lost");
  // The store may have taken so long that the lease no longer covers the dot.
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
}
