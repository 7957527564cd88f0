/**
 * The life of one slot: acquire, seal, process, settle, release, free. In this order always, whatever
 * fails; the items never wait for the release.
 */
import { bytesOf, SealedBatch } from "./batch.ts";
import { BatcherError } from "./errors.ts";
import type { BatchEnd, BatchStart, Guests } from "./hooks.ts";
import type { Slot } from "./key-queue.ts";
import type { Settings } from "./options.ts";

/** Where the steps of a slot are entered in the batcher's books. */
export interface Ledger<Key, Item, Output> {
  /** `acquire` has ended: the items of the slot are fixed now. */
  acquired(slot: Slot<Key, Item, Output>): void;
  /** Settles each item with its output and returns how many failed alone. */
  succeed(slot: Slot<Key, Item, Output>, outputs: readonly unknown[]): number;
  /** Rejects every item, each with an error of its own. */
  fail(slot: Slot<Key, Item, Output>, errorOf: () => BatcherError): void;
  free(slot: Slot<Key, Item, Output>): void;
}

/** Runs a slot to its end. Never rejects. */
export async function runSlot<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  settings: Settings<Key, Item, Output, Resource>,
  guests: Guests,
  ledger: Ledger<Key, Item, Output>,
): Promise<void> {
  const { acquire, release, hooks } = settings;
  const { key } = slot.queue;
  let resource = undefined as Resource;
  let failure: Failure | undefined;
  if (acquire) {
    try {
      resource = await acquire(key, slot.signal);
    } catch (cause) {
      failure = { cause };
    }
    ledger.acquired(slot);
  }
  if (failure) {
    failAcquire(slot, failure, settings, guests, ledger);
    ledger.free(slot);
    return;
  }

  if (slot.entries.length > 0) {
    const batch = new SealedBatch(slot, resource, settings.captureContext !== undefined);
    const start = settings.timed ? startOf(slot, settings.clock.now()) : undefined;
    if (start) guests.call("onBatchStart", hooks.onBatchStart, start);
    const startedAt = start ? settings.clock.now() : 0;
    let outputs: unknown;
    try {
      outputs = await settings.process(batch);
    } catch (cause) {
      failure = { cause };
    }
    const verdict = settle(slot, outputs, failure, settings.name, ledger);
    if (start) {
      const processMs = settings.clock.now() - startedAt;
      guests.call("onBatchEnd", hooks.onBatchEnd, { ...start, ...verdict, processMs });
    }
  }

  if (acquire && release) {
    try {
      await release(resource, key);
    } catch (error) {
      guests.warn("release", error);
    }
  }
  ledger.free(slot);
}

/** Something was thrown, be it `undefined`. */
interface Failure {
  readonly cause: unknown;
}

type Verdict = Pick<BatchEnd<unknown>, "outcome" | "failedItems">;

function settle<Key, Item, Output>(
  slot: Slot<Key, Item, Output>,
  outputs: unknown,
  failure: Failure | undefined,
  name: string,
  ledger: Ledger<Key, Item, Output>,
): Verdict {
  const failedItems = slot.entries.length;
  if (failure) {
    ledger.fail(slot, () => batchFailedError(slot, name, failure.cause));
    return { outcome: "batch-failed", failedItems };
  }
  if (!Array.isArray(outputs) || outputs.length !== slot.entries.length) {
    ledger.fail(slot, () => outputCountError(slot, name, outputs));
    return { outcome: "batch-failed", failedItems };
  }
  return { outcome: "ok", failedItems: ledger.succeed(slot, outputs) };
}

/** The items that this batch would have had now are the ones that fail, and no others. */
function failAcquire<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  { cause }: Failure,
  settings: Settings<Key, Item, Output, Resource>,
  guests: Guests,
  ledger: Ledger<Key, Item, Output>,
): void {
  const { batchId, entries } = slot;
  if (entries.length === 0) return;
  const text = `acquire failed, so the items of batch ${batchId} were not processed`;
  const facts = { cause, key: slot.queue.key, batchId };
  const start = startOf(slot, settings.clock.now());
  ledger.fail(
    slot,
    () => new BatcherError("ERR_BATCHER_ACQUIRE_FAILED", `${settings.name}: ${text}`, facts),
  );
  guests.call("onBatchEnd", settings.hooks.onBatchEnd, {
    ...start,
    outcome: "acquire-failed",
    failedItems: entries.length,
    processMs: 0,
  });
}

function startOf<Key, Item, Output>(slot: Slot<Key, Item, Output>, now: number): BatchStart<Key> {
  return {
    key: slot.queue.key,
    id: slot.batchId,
    trigger: slot.trigger,
    items: slot.entries.length,
    bytes: bytesOf(slot),
    oldestWaitMs: now - (slot.entries[0]?.addedAt ?? now),
    acquireMs: now - slot.openedAt,
  };
}

function outputCountError<Key, Item, Output>(
  slot: Slot<Key, Item, Output>,
  name: string,
  outputs: unknown,
): BatcherError {
  const expected = slot.entries.length;
  const actual = Array.isArray(outputs) ? outputs.length : undefined;
  return new BatcherError(
    "ERR_BATCHER_OUTPUT_COUNT",
    `${name}: process returned ${actual ?? "no array of"} outputs for the ${expected} items of ` +
      `batch ${slot.batchId}, so none of them is known to be done`,
    { key: slot.queue.key, batchId: slot.batchId, expected, actual },
  );
}

function batchFailedError<Key, Item, Output>(
  slot: Slot<Key, Item, Output>,
  name: string,
  cause: unknown,
): BatcherError {
  return new BatcherError(
    "ERR_BATCHER_BATCH_FAILED",
    `${name}: process failed for batch ${slot.batchId}, so none of its items is known to be done`,
    { cause, key: slot.queue.key, batchId: slot.batchId },
  );
}
