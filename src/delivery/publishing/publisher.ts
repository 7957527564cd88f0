/**
 * The publisher of one mail file system: takes what the log has acknowledged, and sees it into the
 * mailboxes. It works in rounds, for all mailboxes together, and one after the other:
 *
 * stage → DURABLE in the log → rename → flush the names → PUBLISHED in the log.
 *
 * Nothing is renamed before the DURABLE that covers it has been written: until then the log alone says
 * what a missing file means, from then on the file system does (zones.ts). A round that fails changes no
 * mark and is repeated after a pause; what is done of it is not done twice.
 */
import { generationOf, type Lsn, type Marks } from "../../journal/index.ts";
import type { KnownMailboxes } from "../../maildir/index.ts";
import type { Clock, FileSystem, TimerHandle } from "../../system/index.ts";
import type { StoredRecord } from "../volumes/records.ts";
import type { Porter } from "./file-worker.ts";
import { fateOf, moveToOrphans, pauseMs } from "./orphans.ts";
import { type Mailing, spaceOf } from "./publication.ts";
import { publishAll } from "./publish-round.ts";
import type { Staging } from "./staging.ts";

export interface PublisherTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly porter: Porter;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly staging: Staging;
  /** What the log says already. */
  readonly marks: Marks;
  /**
   * Writes this file system's marks to the log, with the next frame or, if none comes within so many
   * milliseconds, by a write of their own; durable on return.
   */
  readonly mark: (marks: Partial<Marks>, withinMs: number) => Promise<void>;
  /** Writes records to the log once more and returns their new lsns. */
  readonly logAgain: (records: readonly StoredRecord[]) => Promise<readonly Lsn[]>;
  /** Longest time from the log to the mailbox under load, in milliseconds. */
  readonly publishWithinMs: number;
  readonly onEvent: (event: PublisherEvent) => void;
}

export type PublisherEvent =
  /** These are in their mailboxes, durably; memory they held is free. */
  | { readonly kind: "published"; readonly mailings: readonly Mailing[] }
  /** These are in `orphans/`, durably. */
  | { readonly kind: "orphaned"; readonly mailings: readonly Mailing[] }
  /** A round failed, or after that one succeeded (`undefined`). */
  | { readonly kind: "trouble"; readonly cause: unknown };

const longestPauseAfterFailureMs = 30_000;
/** How long marks wait for a frame to ride with while mail is coming in: a few commits. */
const rideMs = 20;

export class Publisher {
  readonly #tools: PublisherTools;
  #queue: Mailing[] = [];
  #bytes = 0;
  /** Octets published since what is held was last written to the log. */
  #passedBytes = 0;
  #marks: Marks;
  /** Frames up to here have been handed over, so marks may go so far. */
  #reach: Lsn = 0n;
  /** What of it the round under way knows. */
  #roundReach: Lsn = 0n;
  /** Before that, recovery hands over frames of the past, and asks for each round itself. */
  #isLive = false;
  /** Large bodies to be removed once PUBLISHED has passed them. */
  #spent: { readonly name: string; readonly lsn: Lsn }[] = [];
  #round: Promise<void> | undefined;
  #timer: TimerHandle | undefined;
  #lastStartMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #trouble: unknown;
  #closed = false;

  constructor(tools: PublisherTools) {
    this.#tools = tools;
    this.#marks = tools.marks;
  }

  /** Why the last round failed; `undefined` when it did not. */
  get trouble(): unknown {
    return this.#trouble;
  }

  get pending(): number {
    return this.#queue.length;
  }

  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Files in staging that are still needed. */
  get stagedNames(): ReadonlySet<string> {
    const names = this.#queue.flatMap(({ record }) => [record.id, record.large?.name ?? record.id]);
    return new Set(names);
  }

  /** Takes over the messages of one frame, in the log's order. */
  add(mailings: readonly Mailing[], lsn: Lsn): void {
    this.take(mailings, lsn);
    this.#schedule();
  }

  /** Takes over messages without beginning a round: recovery calls {@link finish}. */
  take(mailings: readonly Mailing[], lsn: Lsn): void {
    for (const one of mailings) {
      this.#queue.push(one);
      this.#bytes += spaceOf(one.record);
    }
    this.#reach = lsn;
  }

  /** One round for what was taken. @throws the error that made it fail */
  async finish(): Promise<void> {
    this.#queue.sort(byLsn);
    await this.#run();
    if (this.#trouble !== undefined) throw this.#trouble;
  }

  /** Ends recovery: rounds come by themselves from now on. */
  goLive(): void {
    this.#isLive = true;
    const last = this.#queue.at(-1)?.lsn ?? 0n;
    if (last > this.#reach) this.#reach = last;
    this.#schedule();
  }

  /** Runs rounds until nothing is left that could be published now. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer();
    await this.#round;
    while (this.#hasWork()) {
      await this.#run();
      if (this.#trouble !== undefined) break;
    }
    await this.#tools.staging.close();
  }

  #hasWork(): boolean {
    return (this.#dueInMs() ?? 1) <= 0;
  }

  #schedule(): void {
    const dueInMs = this.#dueInMs();
    if (!this.#isLive || this.#closed || this.#round || dueInMs === undefined) return;
    this.#cancelTimer();
    const { clock } = this.#tools;
    const delayMs = Math.max(dueInMs, this.#pauseMs());
    if (delayMs <= 0) void this.#run();
    else this.#timer = clock.setTimeout(() => void this.#run(), delayMs);
  }

  /** At once when the last round is long past; else half the bound apart, the rest is the round's. */
  #pauseMs(): number {
    const { clock, publishWithinMs } = this.#tools;
    const backoffMs = 100 * 2 ** this.#failures;
    const apartMs =
      this.#failures > 0 ? Math.min(longestPauseAfterFailureMs, backoffMs) : publishWithinMs / 2;
    return this.#lastStartMs + apartMs - clock.now();
  }

  /** How long until there is something to do; `undefined` when nothing is left. */
  #dueInMs(): number | undefined {
    if (this.#publishable > this.#marks.published) return 0;
    if (this.#queue.length === 0) return this.#reach > this.#marks.durable ? 0 : undefined;
    const nowMs = this.#tools.clock.now();
    let dueInMs = Number.POSITIVE_INFINITY;
    for (const one of this.#queue) {
      if (!isHeld(one)) return 0;
      dueInMs = Math.min(dueInMs, one.notBeforeMs - nowMs);
    }
    return dueInMs;
  }

  #cancelTimer(): void {
    if (this.#timer !== undefined) this.#tools.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #run(): Promise<void> {
    this.#timer = undefined;
    this.#lastStartMs = this.#tools.clock.now();
    this.#round = this.#publishOnce()
      .then(
        () => this.#hasGone(undefined),
        (cause: unknown) => this.#hasGone(cause),
      )
      .finally(() => {
        this.#round = undefined;
        this.#schedule();
      });
    return this.#round;
  }

  #hasGone(cause: unknown): void {
    const changed = (cause === undefined) !== (this.#trouble === undefined);
    this.#failures = cause === undefined ? 0 : this.#failures + 1;
    this.#trouble = cause;
    if (changed) this.#tools.onEvent({ kind: "trouble", cause });
  }

  async #publishOnce(): Promise<void> {
    const { staging, clock, mark } = this.#tools;
    const reach = this.#reach;
    this.#roundReach = reach;
    const inReach = this.#queue.filter(({ lsn }) => lsn <= reach);
    await staging.keep(inReach.filter(({ state }) => state === "logged"));
    if (reach > this.#marks.durable) {
      await mark({ durable: reach }, this.#mayWaitMs);
      this.#marks = { ...this.#marks, durable: reach };
    }
    const nowMs = clock.now();
    const due = inReach.filter(({ notBeforeMs }) => notBeforeMs <= nowMs);
    for (const one of due) one.obstacle = undefined;
    await publishAll(due, this.#tools);
    await this.#settleBlocked(due.filter(({ obstacle }) => obstacle !== undefined));
    const published = due.filter(({ state }) => state === "published");
    this.#dismiss(published);
    this.#tools.onEvent({ kind: "published", mailings: published });
    await this.#markPublished();
    await this.#carryForward();
  }

  /** So that the marks can pass: what was not published moves on in the log, or to `orphans/`. */
  async #settleBlocked(blocked: readonly Mailing[]): Promise<void> {
    const { staging, clock, onEvent } = this.#tools;
    const orphans = blocked.filter(
      ({ state, obstacle, record }) =>
        state === "staged" && fateOf(obstacle, record.tries + 1) === "orphan",
    );
    if (orphans.length > 0) {
      await moveToOrphans(orphans, staging, this.#tools);
      this.#dismiss(orphans);
      onEvent({ kind: "orphaned", mailings: orphans });
    }
    const again = blocked.filter((one) => !orphans.includes(one));
    if (again.length === 0) return;
    await this.#logAgain(again, 1);
    for (const one of again) one.notBeforeMs = clock.now() + pauseMs(one.record.tries);
  }

  /**
   * What waits for its next attempt moves on in the log when more than it has been published behind it:
   * mail for a mailbox that cannot be written must not keep the segments that others need.
   */
  async #carryForward(): Promise<void> {
    const generation = generationOf(this.#reach);
    const behind = this.#queue.filter(
      (one) => isHeld(one) && generationOf(one.lsn) < generation && one.lsn <= this.#marks.durable,
    );
    const bytes = behind.reduce((sum, { record }) => sum + spaceOf(record), 0);
    if (behind.length === 0 || this.#passedBytes < bytes) return;
    await this.#logAgain(behind, 0);
    this.#passedBytes = 0;
  }

  async #logAgain(mailings: readonly Mailing[], triesMore: 0 | 1): Promise<void> {
    const records = mailings.map(({ record }) => ({ ...record, tries: record.tries + triesMore }));
    const numbers = await this.#tools.logAgain(records);
    for (const [position, one] of mailings.entries()) {
      one.lsn = numbers[position]!;
      one.record = records[position]!;
    }
    this.#queue.sort(byLsn);
    const last = numbers.at(-1)!;
    if (this.#isLive && last > this.#reach) this.#reach = last;
  }

  /** Mail that came since the round began says that more is coming, and a frame with it. */
  get #mayWaitMs(): number {
    return this.#reach > this.#roundReach ? rideMs : 0;
  }

  /** How far PUBLISHED may go: up to the first message that is not done, and never past DURABLE. */
  get #publishable(): Lsn {
    const open = this.#queue[0];
    const done = open !== undefined && open.lsn <= this.#reach ? open.lsn - 1n : this.#reach;
    return done < this.#marks.durable ? done : this.#marks.durable;
  }

  async #markPublished(): Promise<void> {
    // What was added meanwhile is open, so the mark cannot pass it.
    const published = this.#publishable;
    if (published <= this.#marks.published) return;
    await this.#tools.mark({ published }, this.#mayWaitMs);
    this.#marks = { ...this.#marks, published };
    const inUse = new Set(this.#queue.map(({ record }) => record.large?.name));
    const passed = this.#spent.filter(({ name, lsn }) => lsn <= published && !inUse.has(name));
    this.#spent = this.#spent.filter((one) => !passed.includes(one));
    for (const { name } of passed) this.#tools.staging.remove(name);
  }

  #dismiss(done: readonly Mailing[]): void {
    if (done.length === 0) return;
    const gone = new Set(done);
    for (const { lsn, record } of done) {
      this.#bytes -= spaceOf(record);
      this.#passedBytes += spaceOf(record);
      if (record.large) this.#spent.push({ name: record.large.name, lsn });
    }
    this.#queue = this.#queue.filter((one) => !gone.has(one));
  }
}

function byLsn(a: Mailing, b: Mailing): number {
  return a.lsn < b.lsn ? -1 : a.lsn > b.lsn ? 1 : 0;
}

/** Waits for its time: it is staged already, and there is nothing to do for it before. */
function isHeld({ state, notBeforeMs }: Mailing): boolean {
  return state === "staged" && notBeforeMs > 0;
}
