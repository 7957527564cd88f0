/**
 * Checks every 30 s that this program still understands the tables: a newer program may migrate
 * them while this one runs. The worker calls `check` before each claim. A check costs a small read.
 */
import type { Clock } from "../../system/index.ts";
import { OutboxError } from "../model/errors.ts";
import type { OutboxStore } from "../model/store.ts";

/** Time between two checks, in milliseconds. */
const intervalMs = 30_000;

export class SchemaWatch {
  readonly #store: OutboxStore;
  readonly #clock: Clock;
  #nextAtMs = Number.NEGATIVE_INFINITY;

  constructor({ store, clock }: { readonly store: OutboxStore; readonly clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Checks the version if the last successful check is at least `intervalMs` old.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION, or another error of the store; the next call
   *   then checks again.
   */
  async check(): Promise<void> {
    const nowMs = this.#clock.now();
    if (nowMs < this.#nextAtMs) return;
    await this.#store.checkVersion();
    this.#nextAtMs = nowMs + intervalMs;
  }
}

/** Whether an error says that the tables have a version this program does not understand. */
export function isForeignSchema(error: unknown): boolean {
  return error instanceof OutboxError && error.code === "ERR_OUTBOX_SCHEMA_VERSION";
}
