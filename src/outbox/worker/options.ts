/**
 * The options of a worker: meaning, default and check of each. A value out of bounds is refused,
 * not clamped.
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
   * `default`: claims in batches, sends many at a time, wakes when there is mail. `reference`: one
   * delivery after the other, at most `batchSize` in a tick, a tick every `intervalMs`; few
   * attempts with short pauses. @defaultValue "default"
   */
  readonly profile?: WorkerProfile | undefined;
  /** Name on the record of each attempt. @defaultValue the host name and the process id */
  readonly name?: string | undefined;
  /**
   * Deliveries in flight, from the claim until the outcome is durable. With more than the sender
   * has connections, no connection waits for a commit. @defaultValue 100; reference: 1
   */
  readonly concurrency?: number | undefined;
  /** Deliveries in flight on one route. @defaultValue concurrency */
  readonly routeConcurrency?: number | undefined;
  /**
   * Routes whose mail only the workers that have the mailboxes may send. Those workers must leave
   * this option out. @defaultValue none
   */
  readonly exceptRoutes?: readonly string[] | undefined;
  /** Maximum deliveries of one claim; in a tick, of the tick. @defaultValue 100; reference: 16 */
  readonly batchSize?: number | undefined;
  /**
   * Time between ticks, in milliseconds. `false`: no ticks; the worker wakes when there is mail.
   * @defaultValue false; reference: 1,000
   */
  readonly intervalMs?: number | false | undefined;
  /** Shortest and longest pause of an idle worker, in milliseconds. @defaultValue [50, 1,000] */
  readonly pollMs?: readonly [minMs: number, maxMs: number] | undefined;
  /** Duration of a lease without a renewal, in milliseconds. @defaultValue 60,000 */
  readonly leaseMs?: number | undefined;
  /** Whether the store records an intent before each final dot. @defaultValue true */
  readonly intents?: boolean | undefined;
  /** @defaultValue `mtaRetry`; reference: `referenceRetry` */
  readonly retry?: RetryPolicy | undefined;
  /**
   * Maximum attempts of one cycle; `undefined`: until the mail expires. @defaultValue undefined;
   * reference: 8
   */
  readonly maxAttempts?: number | undefined;
  /**
   * How long a failed route is blocked, in milliseconds, by the number of failures in a row; the
   * last one counts for all further. @defaultValue 30 s, 1, 2, 5, 10, 15 min
   */
  readonly routePausesMs?: readonly number[] | undefined;
  /**
   * How long a delivery is put off when its route has no room, in milliseconds. @defaultValue 1,000
   */
  readonly putOffMs?: number | undefined;
  /**
   * Time limit of one attempt, in milliseconds. After it the sender's signal aborts. @defaultValue
   * 1 hour
   */
  readonly sendTimeoutMs?: number | undefined;
  /** Maximum size of a body that comes with the claim, in bytes. @defaultValue 64 KiB */
  readonly inlineBytes?: number | undefined;
  /**
   * Memory for larger bodies, in bytes. A body that is larger than this is sent alone.
   * @defaultValue 32 MiB
   */
  readonly bodyMemoryBytes?: number | undefined;
  /** Which events are handed to hooks. @defaultValue all but `delivery.deferred` */
  readonly notify?: Notify | undefined;
  /** Receives the events. An error that it throws becomes a warning of the process. */
  readonly onEvent?: ((event: WorkerEvent) => void) | undefined;
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock | undefined;
  /** @defaultValue Math.random */
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
