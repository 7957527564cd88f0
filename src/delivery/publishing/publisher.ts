/**
 * The publisher of one volume (file system of mailboxes): moves acknowledged messages from the log
 * into their mailboxes, in rounds, one after the other, each for all mailboxes of the volume:
 *
 * stage → DURABLE in the log → rename → flush the names → PUBLISHED in the log.
 *
 * DURABLE and PUBLISHED are the volume's marks: log sequence numbers up to which all its messages
 * are staged or published. No message is renamed before a DURABLE that covers it is in the log:
 * below DURABLE staging decides about a missing file, above it the log (recovery/next-step.ts). A
 * round that fails raises no further mark and is repeated after a pause, without the steps done
 * already.
 */
import { generationOf, type Lsn, type Marks } from "../../journal/index.ts";
import type { KnownMailboxes } from "../../maildir/index.ts";
import { type Clock, type FileSystem, invariant, type TimerHandle } from "../../system/index.ts";
import type { StoredRecord } from "../volumes/records.ts";
import type { FileWorker } from "./file-worker.ts";
import { afterFailure, moveToOrphans, retryPauseMs } from "./orphans.ts";
import { type Publication, spaceOf } from "./publication.ts";
import { PublicationQueue } from "./publication-queue.ts";
import { publishAll } from "./publish-round.ts";
import { dueInMs, isHeld, mayWaitMs, pauseMs, publishableUpTo } from "./schedule.ts";
import type { Staging } from "./staging.ts";

interface PublisherTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly fileWorker: FileWorker;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly staging: Staging;
  /** The marks in the log when it was opened. */
  readonly marks: Marks;
  /**
   * Raises this volume's marks in the log: with the next frame or, if no frame comes within
   * `withinMs`, by a write of their own. The marks are durable on return.
   */
  readonly mark: (marks: Partial<Marks>, withinMs: number) => Promise<void>;
  /** Writes records to the log once more, durably, and returns their new lsns in order. */
  readonly logAgain: (records: readonly StoredRecord[]) => Promise<readonly Lsn[]>;
  /** Longest time from the log to the mailbox under load, in milliseconds. */
  readonly publishWithinMs: number;
  /** Called for each event in turn, during rounds. */
  readonly onEvent: (event: PublisherEvent) => void;
}

export type PublisherEvent =
  /** These messages (perhaps none) are in their mailboxes, durably, and no longer in the queue. */
  | { readonly kind: "published"; readonly publications: readonly Publication[] }
  /** These messages are in `orphans/`, durably, and no longer in the queue. */
  | { readonly kind: "orphaned"; readonly publications: readonly Publication[] }
  /** A round failed after one that succeeded; or, without a `cause`, succeeded after a failure. */
  | { readonly kind: "failure"; readonly cause: unknown };

/**
 * `idle`: no round is planned, because nothing is left to do or recovery is not finished.
 * `waiting`: a timer starts the next round. `backing off`: a timer does so after a failed round.
 * `round`: a round runs. `closed`: no round starts by itself; `close` runs the last ones.
 *
 * idle → waiting | round; waiting | backing off → round; round → idle | waiting | backing off |
 * round; any → closed.
 */
type State = "idle" | "waiting" | "backing off" | "round" | "closed";

export class Publisher {
  readonly #tools: PublisherTools;
  #state: State = "idle";
  /** Set while the state is `waiting` or `backing off`. */
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #lastStartMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #failure: unknown;
  /** False until recovery has handed over the frames of earlier processes and run their rounds. */
  #isLive = false;
  readonly #queue = new PublicationQueue();
  #marks: Marks;
  /** The highest lsn handed over: no mark goes further. */
  #reach: Lsn = 0n;
  /** `#reach` at the start of the current round: the round handles messages up to it. */
  #roundReach: Lsn = 0n;
  /** Bytes published since held messages were last logged again. */
  #publishedBytes = 0;

  constructor(tools: PublisherTools) {
    this.#tools = tools;
    this.#marks = tools.marks;
  }

  /** Why the last round failed; `undefined` when it succeeded. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The messages that are not published yet, and the bytes they take on the volume. */
  get pending(): { readonly messages: number; readonly bytes: number } {
    return { messages: this.#queue.all.length, bytes: this.#queue.bytes };
  }

  /** Names of the files in staging that are still needed. */
  get stagedNames(): ReadonlySet<string> {
    return this.#queue.fileNames;
  }

  /** Takes over the messages of one new frame, in the log's order, and starts or plans a round. */
  add(publications: readonly Publication[], lsn: Lsn): void {
    invariant(lsn >= this.#reach, "frames are handed over in the log's order");
    this.take(publications, lsn);
    this.#schedule();
  }

  /** Takes over messages up to `lsn` without a round: recovery then calls {@link finish}. */
  take(publications: readonly Publication[], lsn: Lsn): void {
    this.#queue.push(publications);
    this.#reach = lsn;
  }

  /** Runs one round for the messages taken. @throws the error that made the round fail */
  async finish(): Promise<void> {
    this.#queue.sort();
    await this.#run();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends recovery: from now on rounds start by themselves. */
  goLive(): void {
    this.#isLive = true;
    const last = this.#queue.all.at(-1)?.lsn ?? 0n;
    if (last > this.#reach) this.#reach = last;
    this.#schedule();
  }

  /** Runs rounds until one fails or nothing is left that could be published now. */
  async close(): Promise<void> {
    this.#cancelTimer();
    this.#state = "closed";
    await this.#running;
    while ((this.#dueInMs() ?? 1) <= 0) {
      await this.#run();
      if (this.#failure !== undefined) break;
    }
    await this.#tools.staging.close();
  }

  #dueInMs(): number | undefined {
    return dueInMs(this.#progress, this.#tools.clock.now());
  }

  get #progress() {
    return { queue: this.#queue.all, reach: this.#reach, marks: this.#marks };
  }

  /** Starts the next round, or the timer for it. */
  #schedule(): void {
    if (!this.#isLive || this.#state === "round" || this.#state === "closed") return;
    const workInMs = this.#dueInMs();
    if (workInMs === undefined) return;
    this.#cancelTimer();
    const { clock, publishWithinMs } = this.#tools;
    const rounds = { lastStartMs: this.#lastStartMs, failures: this.#failures, publishWithinMs };
    const delayMs = Math.max(workInMs, pauseMs(rounds, clock.now()));
    if (delayMs <= 0) {
      void this.#run();
      return;
    }
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#run();
    }, delayMs);
    this.#state = this.#failures > 0 ? "backing off" : "waiting";
  }

  #cancelTimer(): void {
    if (this.#timer !== undefined) this.#tools.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #run(): Promise<void> {
    const isFree = this.#running === undefined && this.#state !== "round";
    invariant(isFree, "a publisher runs one round at a time");
    invariant(this.#timer === undefined, "no timer is left when a round starts");
    if (this.#state !== "closed") this.#state = "round";
    this.#lastStartMs = this.#tools.clock.now();
    this.#running = this.#publishOnce().then(
      () => this.#endRound(undefined),
      (cause: unknown) => this.#endRound(cause),
    );
    return this.#running;
  }

  /** @param failure `undefined` when the round succeeded. */
  #endRound(failure: unknown): void {
    const hasChanged = (failure === undefined) !== (this.#failure === undefined);
    this.#failures = failure === undefined ? 0 : this.#failures + 1;
    this.#failure = failure;
    if (hasChanged) this.#tools.onEvent({ kind: "failure", cause: failure });
    this.#running = undefined;
    if (this.#state === "round") this.#state = "idle";
    this.#schedule();
  }

  async #publishOnce(): Promise<void> {
    const { staging, clock } = this.#tools;
    const reach = this.#reach;
    this.#roundReach = reach;
    const inReach = this.#queue.all.filter(({ lsn }) => lsn <= reach);
    await staging.stage(inReach.filter(({ state }) => state === "logged"));
    if (reach > this.#marks.durable) await this.#mark({ durable: reach });
    const nowMs = clock.now();
    const due = inReach.filter(({ notBeforeMs }) => notBeforeMs <= nowMs);
    for (const one of due) one.failure = undefined;
    await publishAll(due, this.#tools);
    await this.#handleFailures(due.filter(({ failure }) => failure !== undefined));
    const published = due.filter(({ state }) => state === "published");
    this.#publishedBytes += this.#queue.remove(published);
    this.#tools.onEvent({ kind: "published", publications: published });
    await this.#markPublished();
    await this.#logHeldAgain();
  }

  /** Logs failed messages again, or moves them to `orphans/`, so that PUBLISHED can pass them. */
  async #handleFailures(failed: readonly Publication[]): Promise<void> {
    const { staging, clock, onEvent } = this.#tools;
    const orphans = failed.filter(
      ({ state, failure, record }) =>
        state === "staged" && afterFailure(failure, record.tries + 1) === "orphan",
    );
    if (orphans.length > 0) {
      await moveToOrphans(orphans, staging, this.#tools);
      this.#publishedBytes += this.#queue.remove(orphans);
      onEvent({ kind: "orphaned", publications: orphans });
    }
    const again = failed.filter((one) => !orphans.includes(one));
    if (again.length === 0) return;
    await this.#logAgain(again, 1);
    for (const one of again) one.notBeforeMs = clock.now() + retryPauseMs(one.record.tries);
  }

  /**
   * Logs held messages (staged, waiting for their next attempt) again, once at least their own
   * bytes of other mail were published since the last time: mail that its mailbox refuses must not
   * occupy the segments that other mail needs.
   */
  async #logHeldAgain(): Promise<void> {
    const generation = generationOf(this.#reach);
    const behind = this.#queue.all.filter(
      (one) => isHeld(one) && generationOf(one.lsn) < generation && one.lsn <= this.#marks.durable,
    );
    const bytes = behind.reduce((sum, { record }) => sum + spaceOf(record), 0);
    if (behind.length === 0 || this.#publishedBytes < bytes) return;
    await this.#logAgain(behind, 0);
    this.#publishedBytes = 0;
  }

  async #logAgain(messages: readonly Publication[], failures: 0 | 1): Promise<void> {
    const records = messages.map(({ record }) => ({ ...record, tries: record.tries + failures }));
    const lsns = await this.#tools.logAgain(records);
    for (const [position, one] of messages.entries()) {
      const [lsn, record] = [lsns[position], records[position]];
      invariant(lsn !== undefined && record !== undefined, "a record logged again has an lsn");
      Object.assign(one, { lsn, record });
    }
    this.#queue.sort();
    const last = lsns.at(-1) ?? 0n;
    if (this.#isLive && last > this.#reach) this.#reach = last;
  }

  /** Raises marks in the log; the raised marks are durable on return. */
  async #mark(raised: Partial<Marks>): Promise<void> {
    const { durable, published } = { ...this.#marks, ...raised };
    const isRaised = durable >= this.#marks.durable && published >= this.#marks.published;
    invariant(isRaised && published <= durable, "marks only rise, PUBLISHED never past DURABLE");
    await this.#tools.mark(raised, mayWaitMs(this.#reach, this.#roundReach));
    this.#marks = { durable, published };
  }

  async #markPublished(): Promise<void> {
    // Messages added during the round are in the queue, so the mark cannot pass them.
    const published = publishableUpTo(this.#progress);
    if (published <= this.#marks.published) return;
    await this.#mark({ published });
    for (const name of this.#queue.takeDoneBodies(published)) this.#tools.staging.remove(name);
  }
}
