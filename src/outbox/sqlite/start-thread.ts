/**
 * Starts the database thread for `store.ts` and posts requests to it: one request per batch of
 * calls, one answer per request.
 *
 * If the thread ends by itself, pending requests reject with ERR_OUTBOX_IN_DOUBT, because their
 * writes may be durable, and later requests with ERR_OUTBOX_STORE.
 */
import { invariant, type NoAnswer, ThreadClient, threadEntry } from "../../system/index.ts";
import { OutboxError } from "../model/errors.ts";
import {
  type Access,
  type CallResult,
  type DatabaseProtocol,
  type PackedCall,
  packBatch,
  packError,
  type ThreadOptions,
  unpackError,
} from "./protocol.ts";

export interface DatabaseThread {
  run(kind: Access, now: number, calls: readonly PackedCall[]): Promise<readonly CallResult[]>;
  schema(kind: "migrate" | "checkVersion"): Promise<CallResult>;
  close(): Promise<void>;
}

/** @throws {OutboxError} ERR_OUTBOX_STORE when the file cannot be opened. */
export async function startDatabaseThread(options: ThreadOptions): Promise<DatabaseThread> {
  const thread = new ThreadClient<DatabaseProtocol>({
    name: "postbag-outbox",
    entry: threadEntry("./database-thread.ts", import.meta.url),
    options,
    errorFor,
  });
  await thread.started();
  return {
    run: (kind, now, calls) => {
      const { text, bytes } = packBatch(calls);
      return thread.ask({ kind, now, text, bytes }, [bytes]);
    },
    schema: async (kind) => {
      const [result] = await thread.ask({ kind });
      invariant(result, "a request about the schema has one result");
      return result;
    },
    close: () => thread.close(),
  };
}

function errorFor(reason: NoAnswer, cause: unknown): OutboxError {
  if (reason === "not started") return unpackError(packError("ERR_OUTBOX_STORE", cause));
  if (reason === "gone") {
    return new OutboxError(
      "ERR_OUTBOX_STORE",
      "The database thread has ended; nothing was changed; open the store again.",
      { cause },
    );
  }
  const text = "The database thread ended during this call; the write may or may not be durable.";
  return new OutboxError("ERR_OUTBOX_IN_DOUBT", text, { cause });
}
