/**
 * Drains a backlog and measures its rate by the mails that are done in the database; sends that are
 * not recorded there do not count.
 *
 * The time begins with the first mail that the sender gets. It ends when the database has all mails
 * as done, or after `maxMs`: then the rate is that of the mails done by then.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Deliver, RecipientOutcome } from "../../src/mail/index.ts";
import type { OutboxSystem } from "./outbox-systems.ts";

export interface DrainOptions {
  readonly target: string;
  /** The mails in the backlog. */
  readonly count: number;
  readonly deliver: Deliver;
  readonly maxMs: number;
  /** Reads the counters of the database server; called at the start and at the end. */
  readonly meter?: () => Promise<Meters>;
}

/** Counters of the database server that only grow. */
export interface Meters {
  readonly walBytes: number;
  readonly serverCpuMs: number;
}

export interface Drained {
  readonly perSecond: number;
  readonly completed: number;
  /** Processor time of this process for one mail, in microseconds. */
  readonly cpuUs: number;
  /** Processor time of the database server for one mail, in microseconds; undefined for SQLite. */
  readonly serverCpuUs: number | undefined;
  readonly walBytes: number | undefined;
}

export async function drain(system: OutboxSystem, options: DrainOptions): Promise<Drained> {
  const { target, count, deliver, maxMs, meter } = options;
  const enough = Promise.withResolvers<void>();
  const meteredBefore = await meter?.();
  let handled = 0;
  let startedMs: number | undefined;
  let cpu = process.cpuUsage();
  let timer: NodeJS.Timeout | undefined;
  const counted: Deliver = async (envelope, message, given) => {
    if (startedMs === undefined) {
      startedMs = performance.now();
      cpu = process.cpuUsage();
      timer = setTimeout(enough.resolve, maxMs);
    }
    const outcomes = await deliver(envelope, message, given);
    handled += 1;
    if (handled === count) enough.resolve();
    return outcomes;
  };
  const working = await system.work(target, counted);
  await enough.promise;
  clearTimeout(timer);
  let completed = await working.completed();
  while (handled >= count && completed < count) {
    await sleep(5);
    completed = await working.completed();
  }
  const seconds = (performance.now() - (startedMs ?? 0)) / 1_000;
  const { user, system: kernel } = process.cpuUsage(cpu);
  const metered = await meter?.();
  await working.stop();
  const each = (of: (meters: Meters) => number) =>
    metered && meteredBefore && (of(metered) - of(meteredBefore)) / completed;
  const serverCpuMs = each((meters) => meters.serverCpuMs);
  return {
    perSecond: completed / seconds,
    completed,
    cpuUs: (user + kernel) / completed,
    serverCpuUs: serverCpuMs === undefined ? undefined : serverCpuMs * 1_000,
    walBytes: each((meters) => meters.walBytes),
  };
}

const taken: RecipientOutcome = {
  kind: "delivered",
  reply: { code: 250, enhanced: "2.0.0", text: "Taken", phase: "message" },
};

/** A sender that accepts every mail `sendMs` after it got the mail. */
export function pretend(sendMs: number): Deliver {
  return async ({ recipients }) => {
    if (sendMs > 0) await sleep(sendMs);
    return recipients.map(() => taken);
  };
}
