/**
 * Whether the tables are still ones this program understands: a newer program may migrate them while this
 * one works. Asked now and then, which costs one small read.
 */
import type { Clock } from "../../system/index.ts";
import { OutboxError } from "../model/errors.ts";
import type { OutboxStore } from "../model/store.ts";

/** Time between two looks, in milliseconds. */
const everyMs = 30_000;

export class SchemaWatch {
  readonly #store: OutboxStore;
  readonly #clock: Clock;
  #nextMs = Number.NEGATIVE_INFINITY;

  constructor({ store, clock }: { readonly store: OutboxStore; readonly clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Looks, if it is time to.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION, or what the store throws else; then it is time again.
   */
  async check(): Promise<void> {
    const nowMs = this.#clock.now();
    if (nowMs < this.#nextMs) return;
    await this.#store.checkVersion();
    this.#nextMs = nowMs + everyMs;
  }
}

/** Whether an error says that the tables are of a version this program does not understand. */
export function isForeignSchema(error: unknown): boolean {
  return error instanceof OutboxError && error.code === "ERR_OUTBOX_SCHEMA_VERSION";
}
