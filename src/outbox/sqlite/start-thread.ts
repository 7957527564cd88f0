/**
 * Starts the database thread and talks to it: a request per batch, an answer per request.
 *
 * If the thread ends by itself, what it held is in doubt and everything after is refused.
 */
import { Worker } from "node:worker_threads";
import { OutboxError } from "../model/errors.ts";
import {
  type Access,
  type CallResult,
  type PackedCall,
  packBatch,
  type ThreadAnswer,
  type ThreadOptions,
  type ThreadRequest,
  unpackError,
} from "./protocol.ts";

export interface DatabaseThread {
  run(kind: Access, now: number, calls: readonly PackedCall[]): Promise<readonly CallResult[]>;
  schema(kind: "migrate" | "checkVersion"): Promise<CallResult>;
  close(): Promise<void>;
}

// In the published package this file is JavaScript, and so is the thread's.
const threadEntry = new URL(
  import.meta.url.endsWith(".ts") ? "./database-thread.ts" : "./database-thread.js",
  import.meta.url,
);

/** @throws {OutboxError} ERR_OUTBOX_STORE when the file cannot be opened. */
export async function startDatabaseThread(options: ThreadOptions): Promise<DatabaseThread> {
  // Without the process's own flags: some, such as --input-type, are refused by a thread.
  const worker = new Worker(threadEntry, {
    name: "postbag-outbox",
    workerData: options,
    execArgv: [],
  });
  const waiting = new Map<number, PromiseWithResolvers<readonly CallResult[]>>();
  const opened = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let lastBatch = 0;
  let closing = false;
  let death: unknown;

  worker.on("message", (answer: ThreadAnswer) => {
    if (answer.kind === "opened") return opened.resolve();
    if (answer.kind === "failed") {
      closing = true;
      return opened.reject(unpackError(answer.error));
    }
    waiting.get(answer.batch)?.resolve(answer.results);
    waiting.delete(answer.batch);
    if (waiting.size === 0) worker.unref(); // An idle outbox does not keep the process alive.
  });
  worker.on("error", (cause) => {
    death = cause;
  });
  worker.on("exit", (code) => {
    ended.resolve();
    if (closing) return;
    death ??= new Error(`the database thread ended with code ${code}`);
    opened.reject(death);
    const text =
      "The database thread ended while it held this call; nobody knows if it is durable.";
    for (const waiter of waiting.values()) {
      waiter.reject(new OutboxError("ERR_OUTBOX_IN_DOUBT", text, { cause: death }));
    }
    waiting.clear();
  });
  await opened.promise;
  worker.unref();

  type Unnumbered<Request> = Request extends { batch: number } ? Omit<Request, "batch"> : never;

  function ask(request: Unnumbered<ThreadRequest>, transfer: ArrayBuffer[] = []) {
    if (death !== undefined) {
      const text = "The database thread is gone.";
      throw new OutboxError("ERR_OUTBOX_STORE", text, { cause: death });
    }
    const batch = ++lastBatch;
    const answered = Promise.withResolvers<readonly CallResult[]>();
    waiting.set(batch, answered);
    worker.ref();
    worker.postMessage({ ...request, batch }, transfer);
    return answered.promise;
  }

  return {
    async run(kind, now, calls) {
      const { text, bytes } = packBatch(calls);
      return ask({ kind, now, text, bytes }, [bytes]);
    },
    async schema(kind) {
      const [result] = await ask({ kind });
      return result as CallResult;
    },
    async close() {
      if (closing) return ended.promise;
      closing = true;
      if (death !== undefined) return;
      worker.ref();
      worker.postMessage({ kind: "close" });
      await ended.promise;
    },
  };
}
