/**
 * Where a batch is carried out: a thread of its own, or, with a file system of the caller's, here.
 *
 * The event loop that talks to mail clients must not stand still while files are made, so file work
 * happens on a disk thread with plain synchronous calls. One message each way per batch: all bodies
 * travel in one buffer that changes hands without a copy.
 */
import { Worker } from "node:worker_threads";
import { systemClock } from "../../system/index.ts";
import type { Disk, JournalDiskEvent, JournalView, RecoveryReport } from "../committer.ts";
import { DeliveryError, errnoOf } from "../errors.ts";
import { errorOf } from "../facts.ts";
import {
  packBatch,
  type ThreadAnswer,
  type ThreadOptions,
  unpackResults,
  unpublishedOf,
} from "./protocol.ts";
import { Unpublished } from "./unpublished.ts";

/** What a disk thread tells without being asked. */
export interface DiskListener {
  /**
   * Called once if the thread ends without having been asked to, before the batches it held reject
   * with ERR_DELIVERY_IN_DOUBT: whether they were stored is not known, so a server must end here
   * rather than answer its clients.
   */
  died(cause: unknown): void;
  happened?(event: JournalDiskEvent): void;
}

// In the published package this file is JavaScript, and so is the thread's.
const threadEntry = new URL(
  import.meta.url.endsWith(".ts") ? "./disk-thread.ts" : "./disk-thread.js",
  import.meta.url,
);

/**
 * Starts a disk thread, which recovers its journal first if it has one.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when the journal cannot be opened.
 */
export async function startDiskThread(
  options: ThreadOptions,
  listener: DiskListener,
  entry: URL = threadEntry,
): Promise<Disk> {
  // Without the process's own flags: some, such as --input-type, are refused by a thread.
  const worker = new Worker(entry, { name: "postbag-disk", workerData: options, execArgv: [] });
  type Waiter = (answer: ThreadAnswer | undefined) => void;
  const waiting = new Map<number, Waiter>();
  const ended = Promise.withResolvers<void>();
  const started = Promise.withResolvers<RecoveryReport | undefined>();
  const unpublished = new Unpublished();
  let accepting = true;
  let lastBatch = 0;
  let closing = false;
  let death: unknown;

  worker.on("message", (answer: ThreadAnswer) => {
    switch (answer.kind) {
      case "started":
        return started.resolve(answer.recovered);
      case "failed":
        closing = true;
        return started.reject(journalError(answer));
      case "event":
        return hear(answer.event);
      case "committed":
        unpublished.committed(unpublishedOf(answer.results), systemClock.now());
    }
    const settle = waiting.get(answer.batch);
    waiting.delete(answer.batch);
    letGo();
    settle?.(answer);
  });
  worker.on("error", (cause) => {
    death = cause;
  });
  worker.on("exit", (code) => {
    ended.resolve();
    if (closing) return;
    death ??= new Error(`the disk thread ended with code ${code}`);
    started.reject(death);
    listener.died(death);
    unpublished.failed(closedError(death));
    for (const settle of waiting.values()) settle(undefined);
    waiting.clear();
  });
  const recovered = await started.promise;
  let watchers = 0;
  letGo();

  /** An idle executor does not keep the process alive; one that somebody waits for does. */
  function letGo(): void {
    if (waiting.size === 0 && watchers === 0 && !closing) worker.unref();
  }

  function hear(event: JournalDiskEvent): void {
    if (event.kind === "accepting") accepting = event.accepting;
    if (event.kind === "published") unpublished.published(event.ids);
    if (event.kind === "orphaned") {
      const text = `Published nowhere, kept in ${event.orphans}: ${event.reason}`;
      unpublished.failed(new DeliveryError("ERR_DELIVERY_ORPHANED", text), event.ids);
    }
    listener.happened?.(event);
  }

  const journal: JournalView | undefined = recovered && {
    recovered,
    get accepting() {
      return accepting && death === undefined;
    },
    get unpublished() {
      return unpublished.count;
    },
    get oldestUnpublishedMs() {
      const sinceMs = unpublished.oldestSinceMs;
      return sinceMs === undefined ? 0 : systemClock.now() - sinceMs;
    },
    async published(id) {
      watchers += 1;
      worker.ref();
      try {
        await unpublished.wait(id);
      } finally {
        watchers -= 1;
        letGo();
      }
    },
  };

  return {
    ...(journal ? { journal } : {}),
    async commit(deliveries) {
      if (death !== undefined) throw closedError(death);
      const batch = ++lastBatch;
      const { request, transfer } = packBatch(batch, deliveries);
      const { promise, resolve } = Promise.withResolvers<ThreadAnswer | undefined>();
      waiting.set(batch, resolve);
      worker.ref();
      worker.postMessage(request, transfer);
      const answer = await promise;
      if (answer?.kind === "committed") return unpackResults(answer.results);
      throw new DeliveryError(
        "ERR_DELIVERY_IN_DOUBT",
        "The disk thread ended while it held this batch; whether it was stored is not known.",
        { cause: answer?.kind === "broken" ? new Error(answer.message) : death },
      );
    },
    async close() {
      if (closing) return ended.promise;
      closing = true;
      if (death !== undefined) return;
      worker.ref();
      worker.postMessage({ kind: "close" });
      await ended.promise;
      unpublished.failed(closedError(undefined));
    },
  };
}

function closedError(cause: unknown): DeliveryError {
  return new DeliveryError("ERR_DELIVERY_CLOSED", "The disk thread is gone.", { cause });
}

function journalError(answer: Extract<ThreadAnswer, { kind: "failed" }>) {
  const { message, code: journalCode, cause: facts } = answer;
  const cause = facts && errorOf(facts);
  const errno = errnoOf(cause);
  return new DeliveryError("ERR_DELIVERY_JOURNAL", message, { errno, journalCode, cause });
}
