/**
 * Where a batch is carried out: a thread of its own, or, with a file system of the caller's, here.
 *
 * The event loop that talks to mail clients must not stand still while files are made, so file work
 * happens on a disk thread with plain synchronous calls. One message each way per batch: all bodies
 * travel in one buffer that changes hands without a copy.
 */
import type { JournalErrorCode } from "../../journal/index.ts";
import {
  errnoOf,
  type NoAnswer,
  systemClock,
  ThreadClient,
  threadEntry,
} from "../../system/index.ts";
import type { Disk, JournalDiskEvent, JournalView } from "../committer.ts";
import { DeliveryError } from "../errors.ts";
import {
  type DiskProtocol,
  packBatch,
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

const entryBeside = threadEntry("./disk-thread.ts", import.meta.url);

/**
 * Starts a disk thread, which recovers its journal first if it has one.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when the journal cannot be opened.
 */
export async function startDiskThread(
  options: ThreadOptions,
  listener: DiskListener,
  entry: URL = entryBeside,
): Promise<Disk> {
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
        const text = `Published nowhere, kept in ${event.orphans}: ${event.reason}`;
        unpublished.failed(new DeliveryError("ERR_DELIVERY_ORPHANED", text), event.ids);
      }
      listener.happened?.(event);
    },
    onDeath: (cause) => {
      listener.died(cause);
      unpublished.failed(closedError(cause));
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
    ...(journal ? { journal } : {}),
    async commit(deliveries) {
      const batch = packBatch(deliveries);
      return unpackResults(await thread.ask(batch, [batch.bytes]));
    },
    async close() {
      await thread.close();
      unpublished.failed(closedError(undefined));
    },
  };
}

function errorFor(reason: NoAnswer, cause: unknown): DeliveryError {
  if (reason === "not started") return journalError(cause as NodeJS.ErrnoException);
  if (reason === "gone") return closedError(cause);
  return new DeliveryError(
    "ERR_DELIVERY_IN_DOUBT",
    "The disk thread ended while it held this batch; whether it was stored is not known.",
    { cause },
  );
}

function closedError(cause: unknown): DeliveryError {
  return new DeliveryError("ERR_DELIVERY_CLOSED", "The disk thread is gone.", { cause });
}

function journalError({ name, message, code, cause }: NodeJS.ErrnoException): DeliveryError {
  return new DeliveryError("ERR_DELIVERY_JOURNAL", message, {
    errno: errnoOf(cause),
    journalCode: name === "JournalError" ? (code as JournalErrorCode) : undefined,
    cause,
  });
}
