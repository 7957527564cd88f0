/**
 * The database thread: takes whole batches of calls, runs them in one transaction, answers per call.
 *
 * Everything is synchronous here and blocks nobody else. What arrives while a commit runs shares the
 * next one. If a call fails, all of its transaction is rolled back and each call runs again in one of
 * its own, so that one cannot fail another.
 */
import { type ThreadCall, threadServer } from "../../system/index.ts";
import { type OperationName, reads, writes } from "./operations.ts";
import {
  buffersOf,
  type Call,
  type CallResult,
  type CallsRequest,
  type DatabaseProtocol,
  packError,
  unpackBatch,
} from "./protocol.ts";
import { checkVersion, migrate } from "./schema.ts";
import { Statements } from "./statements.ts";

/** A request with the way to answer it. */
type Asked = ThreadCall<DatabaseProtocol>;

const thread = threadServer<DatabaseProtocol>();
const { file, busyTimeoutMs } = thread.options;
const operations = { ...writes, ...reads } as Record<
  OperationName,
  (db: Statements, now: number, argument: unknown) => unknown
>;

try {
  serve(new Statements(file, busyTimeoutMs));
} catch (error) {
  thread.notStarted(error);
}

/**
 * Whether the last commit took longer than the work in it. Then what waits shares the next one; else
 * callers are answered sooner, and make more work while this thread does what still waits.
 */
let commitIsCostly = true;

function serve(db: Statements): void {
  thread.serve(
    (first) => {
      for (let next: Asked | undefined = first; next; ) {
        const asked = [next];
        next = thread.next();
        while (isWrite(asked[0]) && isWrite(next) && commitIsCostly) {
          asked.push(next);
          next = thread.next();
        }
        answer(db, asked);
      }
    },
    () => db.close(),
  );
  thread.started(undefined);
}

function isWrite(asked: Asked | undefined): asked is Asked {
  return asked?.request.kind === "write";
}

/** Answers one request, or several that write: these share a commit. */
function answer(db: Statements, asked: readonly Asked[]): void {
  const [{ request, answer: answerOne }] = asked as [Asked];
  if ("text" in request) answerCalls(db, asked);
  else {
    const work = request.kind === "migrate" ? migrate : checkVersion;
    answerOne([attempt(() => work(db.database))]);
  }
}

function answerCalls(db: Statements, asked: readonly Asked[]): void {
  const requests = asked.map(({ request }) => request as CallsRequest);
  const callsOf = requests.map(unpackBatch);
  const all = callsOf.flat();
  const { kind, now } = requests.at(-1) as CallsRequest;
  const results =
    kind === "write" ? write(db, now, all) : all.map((call) => attempt(() => run(db, now, call)));
  for (const [index, calls] of callsOf.entries()) {
    const own = results.splice(0, calls.length);
    asked[index]?.answer(own, buffersOf(calls, own));
    // The database has its own copy. Large messages would fill memory before the collector comes by.
    requests[index]?.bytes.transfer(0);
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
    const begunMs = performance.now();
    const result = work();
    const workedMs = performance.now();
    Failure = CommitFailed;
    db.run("commit");
    commitIsCostly = performance.now() - workedMs >= workedMs - begunMs;
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

/** Operations on lists, of which all calls of a batch are run as one: their rows share statements. */
const listOperations = ["enqueue", "intend", "complete"] as const;

/** Runs the calls of a batch. They are under way together, so in any order. */
function runAll(db: Statements, now: number, calls: readonly Call[]): unknown[] {
  const answers = new Map<OperationName, unknown[]>();
  for (const name of listOperations) {
    const items = calls.flatMap((call) => (call.name === name ? (call.argument as unknown[]) : []));
    if (items.length > 0) answers.set(name, operations[name](db, now, items) as unknown[]);
  }
  return calls.map((call) => {
    const known = answers.get(call.name);
    return known ? known.splice(0, (call.argument as unknown[]).length) : run(db, now, call);
  });
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
