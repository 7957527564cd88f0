/**
 * The options of a worker: meaning, default and check of each. For a value out of bounds the
 * constructor of the worker throws; no value is clamped.
 */
import { hostname } from "node:os";
import type { Deliver } from "../../mail/index.ts";
import { type Clock, guarded, maxTimerMs, systemClock } from "../../system/index.ts";
import { oneOf, refusal, wholeNumber } from "../model/checks.ts";
import type { Notify } from "../model/delivery-state.ts";
import { mtaRetry, type Random, type RetryPolicy, referenceRetry } from "../model/retry.ts";
import type { OutboxStore } from "../model/store.ts";
import type { WorkerEvent } from "./events.ts";

export interface WorkerOptions {
  readonly store: OutboxStore;
  /** Returns the sender of a route; see {@link Deliver}. */
  readonly senderOf: (route: string) => Deliver;
  /**
   * The set of defaults. `default`: claims in batches, sends many at a time, wakes when there is
   * mail. `reference`: one delivery after the other, at most `batchSize` in a tick, a tick every
   * `intervalMs`; at most 8 attempts, with pauses of seconds at first. @defaultValue "default"
   */
  readonly profile?: WorkerProfile | undefined;
  /** The worker's name in each attempt's row. @defaultValue the host name and the process id */
  readonly name?: string | undefined;
  /**
   * Deliveries in flight, from the claim until the outcome is durable. With more than the sender
   * has connections, no connection waits for a commit. @defaultValue 100; reference: 1
   */
  readonly concurrency?: number | undefined;
  /** Deliveries in flight on one route. @defaultValue concurrency */
  readonly routeConcurrency?: number | undefined;
  /**
   * Routes that this worker does not send over; its claims move their deliveries to the lane
   * `local`, a queue for the workers that have the mailboxes. Those workers must leave this option
   * out. @defaultValue none: the worker sends over every route
   */
  readonly exceptRoutes?: readonly string[] | undefined;
  /** Maximum deliveries of one claim, or of one tick. @defaultValue 100; reference: 16 */
  readonly batchSize?: number | undefined;
  /**
   * Time between ticks, in milliseconds. `false`: no ticks; the worker wakes when there is mail.
   * @defaultValue false; reference: 1,000
   */
  readonly intervalMs?: number | false | undefined;
  /**
   * Shortest and longest pause between two claims of an idle worker, in milliseconds; each pause is
   * twice the one before. @defaultValue [50, 1,000]
   */
  readonly pollMs?: readonly [minMs: number, maxMs: number] | undefined;
  /** Duration of a lease without a renewal, in milliseconds. @defaultValue 60,000 */
  readonly leaseMs?: number | undefined;
  /**
   * Whether the worker writes an intent (an attempt without an outcome) to the store before each
   * final dot. Without intents a leased delivery cannot be cancelled, and each delivery whose lease
   * expires is in doubt: it may have been sent. @defaultValue true
   */
  readonly intents?: boolean | undefined;
  /** The delays before retries. @defaultValue `mtaRetry`; reference: `referenceRetry` */
  readonly retry?: RetryPolicy | undefined;
  /**
   * Maximum attempts of one cycle; a redrive starts a new cycle. `undefined`: attempts go on until
   * the mail expires. @defaultValue undefined; reference: 8
   */
  readonly maxAttempts?: number | undefined;
  /**
   * How long a failed route is blocked, in milliseconds: the n-th value after its n-th failure in a
   * row, the last value after all further ones. @defaultValue 30 s, 1, 2, 5, 10, 15 min
   */
  readonly routePausesMs?: readonly number[] | undefined;
  /**
   * How long a delivery is put off, in milliseconds, when its route has no room or its attempt was
   * refused before the final dot. @defaultValue 1,000
   */
  readonly putOffMs?: number | undefined;
  /**
   * Time limit of one attempt, in milliseconds; the sender's signal then aborts.
   * @defaultValue 1 hour
   */
  readonly sendTimeoutMs?: number | undefined;
  /**
   * Maximum size of a body that comes with the claim, in bytes; a larger one is read before its
   * attempt. @defaultValue 64 KiB
   */
  readonly inlineBytes?: number | undefined;
  /**
   * Memory for the bodies above `inlineBytes`, in bytes. A body larger than this memory is sent
   * while no other such body is in memory.
   * @defaultValue 32 MiB
   */
  readonly bodyMemoryBytes?: number | undefined;
  /** Which events hooks receive; others are history. @defaultValue all but `delivery.deferred` */
  readonly notify?: Notify | undefined;
  /**
   * Called for each event as it happens. An error that it throws becomes a warning of the process.
   * @defaultValue none: events are dropped
   */
  readonly onEvent?: ((event: WorkerEvent) => void) | undefined;
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock | undefined;
  /** Source of the jitter of retry delays and poll pauses. @defaultValue Math.random */
  readonly random?: Random | undefined;
}

export type WorkerProfile = "default" | "reference";

/** The options with their defaults filled in. */
export type WorkerSettings = Filled<Omit<WorkerOptions, "profile" | "maxAttempts">> & {
  readonly maxAttempts: number | undefined;
};

type Filled<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

const notifiedByDefault: Notify = (type) => type !== "delivery.deferred";

/** Checks the options and fills in the defaults; throws `ERR_OUTBOX_OPTION`. */
export function workerSettings(options: WorkerOptions): WorkerSettings {
  const { profile = "default" } = options;
  oneOf("profile", profile, ["default", "reference"]);
  const reference = profile === "reference";
  const concurrency = options.concurrency ?? (reference ? 1 : 100);
  const settings: WorkerSettings = {
    store: options.store,
    senderOf: options.senderOf,
    name: options.name ?? `${hostname()}:${process.pid}`,
    concurrency,
    routeConcurrency: options.routeConcurrency ?? concurrency,
    exceptRoutes: options.exceptRoutes ?? [],
    batchSize: options.batchSize ?? (reference ? 16 : 100),
    intervalMs: options.intervalMs ?? (reference ? 1_000 : false),
    pollMs: options.pollMs ?? [50, 1_000],
    leaseMs: options.leaseMs ?? 60_000,
    intents: options.intents ?? true,
    retry: options.retry ?? (reference ? referenceRetry : mtaRetry),
    maxAttempts: options.maxAttempts ?? (reference ? 8 : undefined),
    routePausesMs: options.routePausesMs ?? [30, 60, 120, 300, 600, 900].map((s) => s * 1_000),
    putOffMs: options.putOffMs ?? 1_000,
    sendTimeoutMs: options.sendTimeoutMs ?? 3_600_000,
    inlineBytes: options.inlineBytes ?? 65_536,
    bodyMemoryBytes: options.bodyMemoryBytes ?? 33_554_432,
    notify: options.notify ?? notifiedByDefault,
    onEvent: guarded(options.onEvent),
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
  check(settings);
  return settings;
}

function check(settings: WorkerSettings): void {
  const { maxAttempts, intervalMs, pollMs, routePausesMs } = settings;
  const counts = ["concurrency", "routeConcurrency", "batchSize", "bodyMemoryBytes"] as const;
  const times = ["leaseMs", "putOffMs", "sendTimeoutMs"] as const;
  for (const name of counts) wholeNumber(name, settings[name]);
  for (const name of times) wholeNumber(name, settings[name], 1, maxTimerMs);
  if (maxAttempts !== undefined) wholeNumber("maxAttempts", maxAttempts);
  if (intervalMs !== false) wholeNumber("intervalMs", intervalMs);
  if (!(pollMs[0] >= 1 && pollMs[1] >= pollMs[0])) {
    throw refusal("pollMs", "two numbers of milliseconds, the longer one last", pollMs);
  }
  if (routePausesMs.length === 0 || !routePausesMs.every((pauseMs) => pauseMs >= 1)) {
    throw refusal("routePausesMs", "one or more numbers of milliseconds", routePausesMs);
  }
}
