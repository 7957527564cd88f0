/**
 * The life of one slot: acquire, seal, process, settle, release, free. In this order always, whatever
 * fails; the items never wait for the release.
 */
import { SealedBatch } from "./batch.ts";
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
  const { acquire, release } = settings;
  const { key } = slot.queue;
  let resource = undefined as Resource;
  if (acquire) {
    try {
      resource = await acquire(key, slot.signal.signal);
    } catch (cause) {
      failAcquire(slot, settings, guests, ledger, cause);
      ledger.free(slot);
      return;
    }
    ledger.acquired(slot);
  }
  if (slot.entries.length > 0) await processBatch(slot, resource, settings, guests, ledger);
  if (acquire && release) {
    try {
      await release(resource, key);
    } catch (error) {
      guests.warn("release", error);
    }
  }
  ledger.free(slot);
}

/** The items that this batch would have had now are the ones that fail, and no others. */
function failAcquire<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  settings: Settings<Key, Item, Output, Resource>,
  guests: Guests,
  ledger: Ledger<Key, Item, Output>,
  cause: unknown,
): void {
  ledger.acquired(slot);
  const { batchId, entries } = slot;
  if (entries.length === 0) return;
  const { key } = slot.queue;
  const now = settings.clock.now();
  ledger.fail(
    slot,
    () =>
      new BatcherError(
        "ERR_BATCHER_ACQUIRE_FAILED",
        `${settings.name}: acquire failed, so the items of batch ${batchId} were not processed`,
        { cause, key, batchId },
      ),
  );
  guests.call("onBatchEnd", settings.hooks.onBatchEnd, {
    ...startOf(slot, now),
    outcome: "acquire-failed",
    failedItems: entries.length,
    processMs: 0,
  });
}

async function processBatch<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  resource: Resource,
  settings: Settings<Key, Item, Output, Resource>,
  guests: Guests,
  ledger: Ledger<Key, Item, Output>,
): Promise<void> {
  const { hooks, clock } = settings;
  const batch = batchOf(slot, resource, settings.captureContext !== undefined);
  const startedAt = clock.now();
  const start = hooks.onBatchStart || hooks.onBatchEnd ? startOf(slot, startedAt) : undefined;
  if (start) guests.call("onBatchStart", hooks.onBatchStart, start);

  let failedItems = slot.entries.length;
  let outcome: BatchEnd<Key>["outcome"] = "batch-failed";
  try {
    const outputs: unknown = await settings.process(batch);
    if (isOnePerItem(outputs, slot.entries.length)) {
      failedItems = ledger.succeed(slot, outputs);
      outcome = "ok";
    } else {
      ledger.fail(slot, () => outputCountError(slot, settings.name, outputs));
    }
  } catch (cause) {
    ledger.fail(slot, () => batchFailedError(slot, settings.name, cause));
  }
  if (start) {
    const processMs = clock.now() - startedAt;
    guests.call("onBatchEnd", hooks.onBatchEnd, { ...start, outcome, failedItems, processMs });
  }
}

function batchOf<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  resource: Resource,
  withContexts: boolean,
): SealedBatch<Key, Item, Resource> {
  const { queue, batchId, trigger, signal } = slot;
  const batch = new SealedBatch<Key, Item, Resource>(queue.key, resource, batchId, trigger, signal);
  for (const entry of slot.entries) {
    batch.items.push(entry.item);
    batch.bytes += entry.bytes;
    if (withContexts) batch.contexts.push(entry.context);
  }
  return batch;
}

function startOf<Key, Item, Output>(slot: Slot<Key, Item, Output>, now: number): BatchStart<Key> {
  return {
    key: slot.queue.key,
    id: slot.batchId,
    trigger: slot.trigger,
    items: slot.entries.length,
    bytes: slot.entries.reduce((sum, entry) => sum + entry.bytes, 0),
    oldestWaitMs: now - (slot.entries[0]?.addedAt ?? now),
    acquireMs: now - slot.openedAt,
  };
}

function isOnePerItem(outputs: unknown, items: number): outputs is readonly unknown[] {
  return Array.isArray(outputs) && outputs.length === items;
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
