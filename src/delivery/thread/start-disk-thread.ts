/**
 * The committer that works in a disk thread: this file is the executor's end of the thread, and
 * disk-thread.ts is the other.
 *
 * The event loop that serves mail clients must not stand still while files are written, so file
 * work happens in a thread, with plain synchronous calls. Each batch is one request and one answer.
 */
import type { JournalErrorCode } from "../../journal/index.ts";
import {
  errnoOf,
  type NoAnswer,
  systemClock,
  ThreadClient,
  threadEntry,
} from "../../system/index.ts";
import type { Committer, CommitterEvent, JournalView } from "../committer.ts";
import { DeliveryError } from "../errors.ts";
import {
  type DiskProtocol,
  packBatch,
  type ThreadOptions,
  unpackResults,
  unpublishedOf,
} from "./protocol.ts";
import { Unpublished } from "./unpublished.ts";

/** Callbacks for what a disk thread reports besides answers; called in the event loop's thread. */
export interface DiskThreadListener {
  /**
   * Called once if the thread ends by itself, before the batches in the thread reject with
   * ERR_DELIVERY_IN_DOUBT: it is unknown whether these batches are stored, so a server must end in
   * this call rather than answer its clients.
   */
  onDeath(cause: unknown): void;
  /** Called for each event of the thread's committer. Without it events are dropped. */
  onEvent?(event: CommitterEvent): void;
}

const ownEntry = threadEntry("./disk-thread.ts", import.meta.url);

/**
 * Starts a disk thread; resolves when the thread takes batches, and with a journal has recovered
 * it.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when the journal cannot be opened.
 */
export async function startDiskThread(
  options: ThreadOptions,
  listener: DiskThreadListener,
  entry: URL = ownEntry,
): Promise<Committer> {
  const unpublished = new Unpublished();
  let accepting = true;
  const thread = new ThreadClient<DiskProtocol>({
    name: "postbag-disk",
    entry,
    options,
    errorFor,
    onAnswer: (results) => unpublished.committed(unpublishedOf(results), systemClock.now()),
    onEvent: (event) => {
      if (event.kind === "accepting") accepting = event.accepting;
      if (event.kind === "published") unpublished.published(event.ids);
      if (event.kind === "orphaned") {
        const text = `The message was not published (${event.reason}); it is in ${event.orphans}.`;
        unpublished.failed(new DeliveryError("ERR_DELIVERY_ORPHANED", text), event.ids);
      }
      listener.onEvent?.(event);
    },
    onDeath: (cause) => {
      listener.onDeath(cause);
      unpublished.failed(unpublishedError(cause));
    },
  });
  const recovered = await thread.started();
  const journal: JournalView | undefined = recovered && {
    recovered,
    get accepting() {
      return accepting && !thread.hasDied;
    },
    get unpublished() {
      return unpublished.count;
    },
    get oldestUnpublishedMs() {
      const sinceMs = unpublished.oldestSinceMs;
      return sinceMs === undefined ? 0 : systemClock.now() - sinceMs;
    },
    published: (id) => thread.keepAlive(unpublished.wait(id)),
  };
  return {
    journal,
    async commit(deliveries) {
      const batch = packBatch(deliveries);
      return unpackResults(await thread.ask(batch, [batch.bytes]));
    },
    async close() {
      await thread.close();
      unpublished.failed(unpublishedError(undefined));
    },
  };
}

function errorFor(reason: NoAnswer, cause: unknown): DeliveryError {
  if (reason === "not started") return journalError(cause as NodeJS.ErrnoException);
  if (reason === "gone") return closedError(cause);
  const what = reason === "failed" ? "failed to commit" : "ended while it held";
  return new DeliveryError(
    "ERR_DELIVERY_IN_DOUBT",
    `The disk thread ${what} this batch; it may or may not be stored.`,
    { cause },
  );
}

function closedError(cause: unknown): DeliveryError {
  const text = "The disk thread has ended; the message was not taken.";
  return new DeliveryError("ERR_DELIVERY_CLOSED", text, { cause });
}

function unpublishedError(cause: unknown): DeliveryError {
  const text = "The disk thread has ended; the message is durable, and recovery will publish it.";
  return new DeliveryError("ERR_DELIVERY_CLOSED", text, { cause });
}

function journalError({ name, message, code, cause }: NodeJS.ErrnoException): DeliveryError {
  return new DeliveryError("ERR_DELIVERY_JOURNAL", message, {
    errno: errnoOf(cause),
    journalCode: name === "JournalError" ? (code as JournalErrorCode) : undefined,
    cause,
  });
}
