/**
 * The database thread: takes whole batches of calls, runs them in one transaction, answers per call.
 *
 * Everything is synchronous here and blocks nobody else. If a call of a batch fails, the batch is
 * rolled back and each call runs again in a transaction of its own, so that one cannot fail another.
 */
import { parentPort, workerData } from "node:worker_threads";
import { enqueue } from "./enqueue.ts";
import { type OperationName, reads, writes } from "./operations.ts";
import { checkVersion, migrate } from "./schema.ts";
import { Statements } from "./statements.ts";
import type { ThreadOptions, ThreadRequest } from "./wire.ts";
import {
  buffersOf,
  type Call,
  type CallResult,
  packError,
  type ThreadAnswer,
  unpackBatch,
} from "./wire.ts";

const port = parentPort;
if (port === null) throw new Error("the database thread runs as a worker thread only");

const { file, busyTimeoutMs } = workerData as ThreadOptions;
const operations = { ...writes, ...reads } as Record<
  OperationName,
  (db: Statements, now: number, argument: unknown) => unknown
>;

try {
  serve(new Statements(file, busyTimeoutMs));
} catch (error) {
  say({ kind: "failed", error: packError("ERR_OUTBOX_STORE", error) });
  port.close();
}

function serve(db: Statements): void {
  port?.on("message", (request: ThreadRequest) => {
    if (request.kind === "close") {
      db.close();
      port?.close();
      return;
    }
    const calls = "text" in request ? unpackBatch(request) : [];
    const results = answersTo(db, request, calls);
    say({ kind: "answered", batch: request.batch, results }, buffersOf(calls, results));
    // The database has its own copy. Large messages would fill memory before the collector comes by.
    if ("bytes" in request) request.bytes.transfer(0);
  });
  say({ kind: "opened" });
}

function answersTo(
  db: Statements,
  request: Exclude<ThreadRequest, { kind: "close" }>,
  calls: readonly Call[],
) {
  switch (request.kind) {
    case "migrate":
      return [attempt(() => migrate(db.database))];
    case "checkVersion":
      return [attempt(() => checkVersion(db.database))];
    case "read":
      return calls.map((call) => attempt(() => run(db, request.now, call)));
    case "write":
      return write(db, request.now, calls);
  }
}

function write(db: Statements, now: number, calls: readonly Call[]): CallResult[] {
  try {
    return inTransaction(db, () => runAll(db, now, calls)).map((value) => ({ ok: true, value }));
  } catch (error) {
    const failed: CallResult = { ok: false, error: packError(codeOf(error), error) };
    // What failed before the first call or after the last is no fault of one of them. A commit that
    // failed may turn out durable after all, and a file that is locked was waited for long enough.
    if (calls.length === 1 || error instanceof TransactionFailed) return calls.map(() => failed);
    return calls.flatMap((call) => write(db, now, [call]));
  }
}

/** Beginning or committing failed, not a call in between. */
class TransactionFailed extends Error {}
class CommitFailed extends TransactionFailed {}

function inTransaction<Result>(db: Statements, work: () => Result): Result {
  let Failure: typeof TransactionFailed | undefined = TransactionFailed;
  try {
    db.run("begin immediate");
    Failure = undefined;
    const result = work();
    Failure = CommitFailed;
    db.run("commit");
    return result;
  } catch (error) {
    if (db.database.isTransaction) db.run("rollback");
    throw Failure ? new Failure((error as Error).message, { cause: error }) : error;
  }
}

/** An input/output error while committing leaves it open whether the commit is on the disk. */
function codeOf(error: unknown): "ERR_OUTBOX_IN_DOUBT" | "ERR_OUTBOX_STORE" {
  const SQLITE_IOERR = 10;
  const cause = (error as Error).cause as { errcode?: number } | undefined;
  const ioError = error instanceof CommitFailed && ((cause?.errcode ?? 0) & 0xff) === SQLITE_IOERR;
  return ioError ? "ERR_OUTBOX_IN_DOUBT" : "ERR_OUTBOX_STORE";
}

/** Runs the calls of a batch, all its enqueues first and together: their rows share statements. */
function runAll(db: Statements, now: number, calls: readonly Call[]): unknown[] {
  const isEnqueue = (call: Call): call is Call<"enqueue"> => call.name === "enqueue";
  const messages = calls.filter(isEnqueue).flatMap(({ argument }) => argument);
  const stored = enqueue(db, now, messages);
  return calls.map((call) =>
    isEnqueue(call) ? stored.splice(0, call.argument.length) : run(db, now, call),
  );
}

function run(db: Statements, now: number, { name, argument }: Call): unknown {
  return operations[name](db, now, argument);
}

function attempt(work: () => unknown): CallResult {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    return { ok: false, error: packError("ERR_OUTBOX_STORE", error) };
  }
}

function say(answer: ThreadAnswer, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(answer, transfer);
}
