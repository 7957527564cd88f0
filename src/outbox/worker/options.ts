/** The options of a worker: what each means, its default, and the check at the door. */
import { hostname } from "node:os";
import type { Deliver } from "../../mail/index.ts";
import { type Clock, maxTimerMs, systemClock } from "../../system/index.ts";
import { oneOf, refusal, wholeNumber } from "../model/checks.ts";
import type { Notify } from "../model/delivery-state.ts";
import { mtaRetry, type Random, type RetryPolicy, referenceRetry } from "../model/retry.ts";
import type { OutboxStore } from "../model/store.ts";
import type { WorkerEvent } from "./events.ts";

export interface WorkerOptions {
  readonly store: OutboxStore;
  /** Finds who sends mail on a route; see {@link Deliver}. */
  readonly senderOf: (route: string) => Deliver;
  /**
   * `default`: claims in batches, sends many at a time, wakes when there is mail. `reference`: one
   * delivery after the other, at most `batchSize` in a tick, a tick every `intervalMs`; few attempts
   * with short pauses. @defaultValue "default"
   */
  readonly profile?: WorkerProfile;
  /** Name for the record. @defaultValue the machine's name and the process's id */
  readonly name?: string;
  /**
   * Deliveries under way at a time, from the claim until their outcome is durable. Better more than the
   * sender has connections: those then wait for no commit. @defaultValue 100; reference: 1
   */
  readonly concurrency?: number;
  /** Of these, most on one route. @defaultValue concurrency */
  readonly routeConcurrency?: number;
  /**
   * Routes left to the workers that have the mailboxes behind them: those must be given none here.
   * @defaultValue none
   */
  readonly exceptRoutes?: readonly string[];
  /** Most deliveries of one claim; in a tick, of the tick. @defaultValue 100; reference: 16 */
  readonly batchSize?: number;
  /** Time between ticks, in milliseconds; `false` for none: the worker wakes by itself. @defaultValue false; reference: 1,000 */
  readonly intervalMs?: number | false;
  /** Shortest and longest pause of an idle worker, in milliseconds. @defaultValue [50, 1,000] */
  readonly pollMs?: readonly [least: number, most: number];
  /** How long a delivery is the worker's without a renewal, in milliseconds. @defaultValue 60,000 */
  readonly leaseMs?: number;
  /** Whether each final dot is announced to the store before it is sent. @defaultValue true */
  readonly intents?: boolean;
  /** @defaultValue `mtaRetry`; reference: `referenceRetry` */
  readonly retry?: RetryPolicy;
  /** Attempts of one cycle; `undefined` leaves it to age. @defaultValue undefined; reference: 8 */
  readonly maxAttempts?: number;
  /** Pauses of a route that fails, in milliseconds, by failures in a row. @defaultValue 30 s, 1, 2, 5, 10, 15 min */
  readonly routePausesMs?: readonly number[];
  /** How long a delivery waits whose route has no room, in milliseconds. @defaultValue 1,000 */
  readonly putOffMs?: number;
  /** Longest time for one attempt; who has not sent by then is told to end. @defaultValue 1 hour */
  readonly sendTimeoutMs?: number;
  /** Bodies up to this size come with the claim. @defaultValue 64 KiB */
  readonly inlineBytes?: number;
  /** Octets of larger bodies in memory at once; one that is larger than that goes alone. @defaultValue 32 MiB */
  readonly bodyMemoryBytes?: number;
  /** Which events hooks are to hear of. @defaultValue those of an end, and doubts */
  readonly notify?: Notify;
  /** Told what happens. What it throws becomes a warning of the process. */
  readonly onEvent?: (event: WorkerEvent) => void;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock;
  /** @defaultValue Math.random */
  readonly random?: Random;
}

export type WorkerProfile = "default" | "reference";

/** The options with their defaults filled in. */
export type WorkerSettings = Required<Omit<WorkerOptions, "profile" | "maxAttempts">> & {
  readonly maxAttempts: number | undefined;
};

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
    onEvent: guarded(options.onEvent ?? (() => {})),
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
  check(settings);
  return settings;
}

/** Who listens cannot stop the mail. */
function guarded(onEvent: (event: WorkerEvent) => void): (event: WorkerEvent) => void {
  return (event) => {
    try {
      onEvent(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
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
