/**
 * The options of a batcher: what each means, its default, and the check at the door.
 *
 * An invalid value is refused with the value in the message; no value is clamped.
 */
import type { Batch, Failure } from "./batch.ts";
import { type BatcherClock, realClock } from "./clock.ts";
import type { StartLimits } from "./decide.ts";
import { BatcherError } from "./errors.ts";
import type { BatcherHooks } from "./hooks.ts";

/**
 * The maximum delay of a timer, in Node and in browsers; with a longer one it would fire at once.
 */
const maxTimerMs = 2 ** 31 - 1;

export interface BatcherOptions<Key, Item, Output, Resource = void> {
  /**
   * Processes one batch. Returns one output per item, in the order of the items; an output made by
   * `fail(reason)` rejects that item alone. A throw, a rejection or a wrong number of outputs
   * rejects every item of the batch and no other.
   *
   * It must not await `add` on its own key: with `keyConcurrency` 1 that never ends.
   */
  readonly process: (
    batch: Batch<Key, Item, Resource>,
  ) => PromiseLike<readonly (Output | Failure)[]> | readonly (Output | Failure)[];
  /**
   * Acquires a resource for a batch *before* its items are fixed; meanwhile further items gather.
   */
  readonly acquire?:
    | ((key: Key, signal: AbortSignal) => PromiseLike<Resource> | Resource)
    | undefined;
  /**
   * Releases the resource, once per successful `acquire`, whether the batch succeeded or failed.
   */
  readonly release?: ((resource: Resource, key: Key) => unknown) | undefined;
  /** Items per batch. @defaultValue 100 */
  readonly maxBatchItems?: number | undefined;
  /** Bytes per batch; one larger item goes alone. Needs `sizeOf`. @defaultValue Infinity */
  readonly maxBatchBytes?: number | undefined;
  /** Returns the bytes of an item, a finite number ≥ 0; called once per `add`. */
  readonly sizeOf?: ((item: Item) => number) | undefined;
  /** Batches of one key at a time, acquire and release included. @defaultValue 1 */
  readonly keyConcurrency?: number | undefined;
  /** Batches of all keys at a time. @defaultValue 16 */
  readonly concurrency?: number | undefined;
  /** Items that justify an *additional* slot for a key that already has one. @defaultValue 1 */
  readonly minBatchItems?: number | undefined;
  /** Age of the oldest queued item, in ms, at which a partial batch starts. @defaultValue 0 */
  readonly lingerMs?: number | undefined;
  /** Starts a partial batch only by `lingerMs` (if > 0), `flush` or `close`. @defaultValue false */
  readonly holdUntilFull?: boolean | undefined;
  /** Items accepted and not yet settled, over all keys. @defaultValue 10,000 */
  readonly maxItems?: number | undefined;
  /** The same for one key. @defaultValue maxItems */
  readonly maxItemsPerKey?: number | undefined;
  /** Bytes accepted and not yet settled. Needs `sizeOf`. @defaultValue Infinity */
  readonly maxBytes?: number | undefined;
  /**
   * Past a limit: reject with `ERR_BATCHER_FULL`, or wait in order of arrival.
   * @defaultValue "reject"
   */
  readonly onFull?: "reject" | "wait" | undefined;
  /**
   * Called in `add`, in the caller's async context; `batch.contexts` has the values it returned.
   */
  readonly captureContext?: (() => unknown) | undefined;
  readonly hooks?: BatcherHooks<Key> | undefined;
  /** @defaultValue the machine's clock */
  readonly clock?: BatcherClock | undefined;
  /** Names this batcher in messages. @defaultValue "batcher" */
  readonly name?: string | undefined;
}

/** The options after the check, with every default filled in. */
export interface Settings<Key, Item, Output, Resource> extends StartLimits {
  readonly process: BatcherOptions<Key, Item, Output, Resource>["process"];
  readonly acquire: BatcherOptions<Key, Item, Output, Resource>["acquire"] | undefined;
  readonly release: BatcherOptions<Key, Item, Output, Resource>["release"] | undefined;
  readonly sizeOf: ((item: Item) => number) | undefined;
  readonly concurrency: number;
  readonly maxItems: number;
  readonly maxItemsPerKey: number;
  readonly maxBytes: number;
  readonly onFull: "reject" | "wait";
  readonly captureContext: (() => unknown) | undefined;
  readonly hooks: BatcherHooks<Key>;
  readonly clock: BatcherClock;
  readonly name: string;
  /** Whether durations are needed; if not, the clock is not read. */
  readonly isTimed: boolean;
}

const optionNames = new Set(
  (
    "process acquire release maxBatchItems maxBatchBytes sizeOf keyConcurrency concurrency " +
    "minBatchItems lingerMs holdUntilFull maxItems maxItemsPerKey maxBytes onFull captureContext " +
    "hooks clock name"
  ).split(" "),
);

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {@link BatcherError} `ERR_BATCHER_BAD_OPTION`, naming the option and the value received.
 */
export function settingsOf<Key, Item, Output, Resource>(
  options: BatcherOptions<Key, Item, Output, Resource>,
): Settings<Key, Item, Output, Resource> {
  checkShape(options);
  const maxItems = count("maxItems", options.maxItems, 10_000);
  const maxBytes = bytes("maxBytes", options.maxBytes);
  const settings = {
    process: options.process,
    acquire: options.acquire,
    release: options.release,
    sizeOf: options.sizeOf,
    maxBatchItems: count("maxBatchItems", options.maxBatchItems, Math.min(100, maxItems)),
    maxBatchBytes: bytes("maxBatchBytes", options.maxBatchBytes ?? maxBytes),
    keyConcurrency: count("keyConcurrency", options.keyConcurrency, 1),
    concurrency: count("concurrency", options.concurrency, 16),
    minBatchItems: count("minBatchItems", options.minBatchItems, 1),
    lingerMs: delayMs("lingerMs", options.lingerMs ?? 0),
    holdUntilFull: options.holdUntilFull ?? false,
    maxItems,
    maxItemsPerKey: count("maxItemsPerKey", options.maxItemsPerKey, maxItems),
    maxBytes,
    onFull: options.onFull ?? "reject",
    captureContext: options.captureContext,
    hooks: options.hooks ?? {},
    clock: options.clock ?? realClock,
    name: options.name ?? "batcher",
    isTimed: (options.lingerMs ?? 0) > 0 || hooksTime(options.hooks),
  };
  ordered("minBatchItems", settings.minBatchItems, "maxBatchItems", settings.maxBatchItems);
  ordered("maxBatchItems", settings.maxBatchItems, "maxItems", maxItems);
  ordered("maxItemsPerKey", settings.maxItemsPerKey, "maxItems", maxItems);
  ordered("maxBatchBytes", settings.maxBatchBytes, "maxBytes", maxBytes);
  if (settings.maxBatchBytes < Number.POSITIVE_INFINITY && !options.sizeOf) {
    throw badOption("sizeOf", undefined, "a function, because a byte limit is set");
  }
  return settings;
}

function hooksTime(hooks: BatcherHooks<never> | undefined): boolean {
  return hooks?.onBatchStart !== undefined || hooks?.onBatchEnd !== undefined;
}

function checkShape(options: object): void {
  const given = options as Record<string, unknown>;
  for (const name of Object.keys(given)) {
    if (!optionNames.has(name))
      throw badOption(name, given[name], "left out, because there is no such option");
  }
  if (typeof given.process !== "function") {
    throw badOption("process", given.process, "a function");
  }
  for (const name of ["acquire", "release", "sizeOf", "captureContext"]) {
    if (given[name] !== undefined && typeof given[name] !== "function") {
      throw badOption(name, given[name], "a function");
    }
  }
  if (given.holdUntilFull !== undefined && typeof given.holdUntilFull !== "boolean") {
    throw badOption("holdUntilFull", given.holdUntilFull, "true or false");
  }
  if (given.onFull !== undefined && given.onFull !== "reject" && given.onFull !== "wait") {
    throw badOption("onFull", given.onFull, '"reject" or "wait"');
  }
  if (given.release && !given.acquire) {
    throw badOption(
      "release",
      given.release,
      "left out, because it is never called without acquire",
    );
  }
}

function count(name: string, value: number | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  if (Number.isInteger(value) && value >= 1) return value;
  throw badOption(name, value, "a whole number from 1 up");
}

function bytes(name: string, value: number | undefined): number {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (Number.isFinite(value) && value >= 1) return value;
  throw badOption(name, value, "a number of bytes from 1 up");
}

/** Checks a delay; throws `ERR_BATCHER_BAD_OPTION`. */
export function delayMs(name: string, value: number): number {
  if (typeof value === "number" && value >= 0 && value <= maxTimerMs) return value;
  throw badOption(name, value, `a number of milliseconds from 0 to ${maxTimerMs}`);
}

function ordered(lowName: string, low: number, highName: string, high: number): void {
  if (low > high) throw badOption(lowName, low, `at most ${highName}, which is ${high}`);
}

function badOption(name: string, value: unknown, expected: string): BatcherError {
  const received = typeof value === "string" ? JSON.stringify(value) : describe(value);
  return new BatcherError(
    "ERR_BATCHER_BAD_OPTION",
    `${name} must be ${expected}; got ${received}.`,
  );
}

function describe(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
