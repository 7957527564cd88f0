/**
 * The life of one slot: acquire, seal, process, settle, release, free. Always in this order,
 * whatever fails; the items do not wait for the release.
 */
import { bytesOf, SealedBatch } from "./batch.ts";
import { BatcherError } from "./errors.ts";
import type { BatchEnd, BatchStart, UserCallbacks } from "./hooks.ts";
import type { Slot } from "./key-queue.ts";
import type { Settings } from "./options.ts";

/** How the batcher accounts for the steps of a slot. */
export interface SlotAccounts<Key, Item, Output> {
  /** `acquire` has ended, well or not; seals the slot. */
  acquired(slot: Slot<Key, Item, Output>): void;
  /** Settles each item with its output and returns how many failed alone. */
  succeed(slot: Slot<Key, Item, Output>, outputs: readonly unknown[]): number;
  /** Rejects every item, each with an error of its own. */
  fail(slot: Slot<Key, Item, Output>, errorOf: () => BatcherError): void;
  free(slot: Slot<Key, Item, Output>): void;
}

interface SlotTools<Key, Item, Output, Resource> {
  readonly settings: Settings<Key, Item, Output, Resource>;
  readonly callbacks: UserCallbacks;
  readonly accounts: SlotAccounts<Key, Item, Output>;
}

/** The error of a call that threw or rejected, be it `undefined`. */
interface Thrown {
  readonly cause: unknown;
}

/** Runs a slot to its end. Never rejects. */
export async function runSlot<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  tools: SlotTools<Key, Item, Output, Resource>,
): Promise<void> {
  const { settings, callbacks, accounts } = tools;
  const { acquire, release } = settings;
  const { key } = slot.queue;
  let resource = undefined as Resource;
  if (acquire) {
    let failure: Thrown | undefined;
    try {
      resource = await acquire(key, slot.signal);
    } catch (cause) {
      failure = { cause };
    }
    accounts.acquired(slot);
    if (failure) {
      failAcquire(slot, failure, tools);
      accounts.free(slot);
      return;
    }
  }

  if (slot.items.length > 0) {
    const batch = new SealedBatch(slot, resource, settings.captureContext !== undefined);
    const start = reportStart(slot, tools);
    const startedAtMs = start ? settings.clock.now() : 0;
    let outputs: unknown;
    let failure: Thrown | undefined;
    try {
      outputs = await settings.process(batch);
    } catch (cause) {
      failure = { cause };
    }
    const verdict = failure ? settleFailed(slot, failure, tools) : settle(slot, outputs, tools);
    if (start) {
      const processMs = settings.clock.now() - startedAtMs;
      callbacks.call("onBatchEnd", settings.hooks.onBatchEnd, { ...start, ...verdict, processMs });
    }
  }

  if (acquire && release) {
    try {
      await release(resource, key);
    } catch (error) {
      callbacks.warn("release", error);
    }
  }
  accounts.free(slot);
}

/** Calls `onBatchStart`; returns what it reported, if durations are needed at all. */
function reportStart<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  { settings, callbacks }: SlotTools<Key, Item, Output, Resource>,
): BatchStart<Key> | undefined {
  if (!settings.isTimed) return undefined;
  const start = startOf(slot, settings.clock.now());
  callbacks.call("onBatchStart", settings.hooks.onBatchStart, start);
  return start;
}

type Verdict = Pick<BatchEnd<unknown>, "outcome" | "failedItems">;

function settle<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  outputs: unknown,
  { settings, accounts }: SlotTools<Key, Item, Output, Resource>,
): Verdict {
  if (!Array.isArray(outputs) || outputs.length !== slot.items.length) {
    accounts.fail(slot, () => outputCountError(slot, settings.name, outputs));
    return { outcome: "batch-failed", failedItems: slot.items.length };
  }
  return { outcome: "ok", failedItems: accounts.succeed(slot, outputs) };
}

function settleFailed<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  { cause }: Thrown,
  { settings, accounts }: SlotTools<Key, Item, Output, Resource>,
): Verdict {
  accounts.fail(slot, () => batchFailedError(slot, settings.name, cause));
  return { outcome: "batch-failed", failedItems: slot.items.length };
}

/** Fails the items that this batch would have had now, and no others. */
function failAcquire<Key, Item, Output, Resource>(
  slot: Slot<Key, Item, Output>,
  { cause }: Thrown,
  { settings, callbacks, accounts }: SlotTools<Key, Item, Output, Resource>,
): void {
  const { batchId, items } = slot;
  if (items.length === 0) return;
  const text = `${settings.name}: acquire failed for batch ${batchId}; its items were not processed`;
  const facts = { cause, key: slot.queue.key, batchId };
  const start = startOf(slot, settings.clock.now());
  accounts.fail(slot, () => new BatcherError("ERR_BATCHER_ACQUIRE_FAILED", text, facts));
  callbacks.call("onBatchEnd", settings.hooks.onBatchEnd, {
    ...start,
    outcome: "acquire-failed",
    failedItems: items.length,
    processMs: 0,
  });
}

function startOf<Key, Item, Output>(slot: Slot<Key, Item, Output>, nowMs: number): BatchStart<Key> {
  return {
    key: slot.queue.key,
    id: slot.batchId,
    trigger: slot.trigger,
    items: slot.items.length,
    bytes: bytesOf(slot),
    oldestWaitMs: nowMs - (slot.items[0]?.addedAtMs ?? nowMs),
    acquireMs: nowMs - slot.openedAtMs,
  };
}

function outputCountError<Key, Item, Output>(
  slot: Slot<Key, Item, Output>,
  name: string,
  outputs: unknown,
): BatcherError {
  const { batchId, items, queue } = slot;
  const expected = items.length;
  const actual = Array.isArray(outputs) ? outputs.length : undefined;
  return new BatcherError(
    "ERR_BATCHER_OUTPUT_COUNT",
    `${name}: process returned ${actual ?? "no array of"} outputs for the ${expected} items of ` +
      `batch ${batchId}; the results of these items are unknown`,
    { key: queue.key, batchId, expected, actual },
  );
}

function batchFailedError<Key, Item, Output>(
  slot: Slot<Key, Item, Output>,
  name: string,
  cause: unknown,
): BatcherError {
  return new BatcherError(
    "ERR_BATCHER_BATCH_FAILED",
    `${name}: process failed for batch ${slot.batchId}; the results of its items are unknown`,
    { cause, key: slot.queue.key, batchId: slot.batchId },
  );
}
