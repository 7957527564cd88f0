/**
 * Runs calls on the connection of the database thread: calls that write share a transaction, and
 * each call has a result of its own.
 *
 * If a call fails, the shared transaction is rolled back and each call runs again in a transaction
 * of its own, so that one call cannot fail another.
 */
import { type OperationName, reads, writes } from "./operations.ts";
import { type Call, type CallResult, packError } from "./protocol.ts";
import type { Statements } from "./statements.ts";

const operations = { ...writes, ...reads } as Record<
  OperationName,
  (db: Statements, now: number, argument: unknown) => unknown
>;

/** Operations on lists. All calls of a batch run as one, so that their rows share statements. */
const listOperations = ["enqueue", "intend", "complete"] as const;

/** The begin or the commit of a transaction failed, not a call in it. */
class TransactionFailed extends Error {}
class CommitFailed extends TransactionFailed {}

export class CallRunner {
  readonly #db: Statements;
  #isCommitCostly = true;

  constructor(db: Statements) {
    this.#db = db;
  }

  /**
   * Whether the last commit took longer than the work in it. Then waiting requests share the next
   * commit. Otherwise each has its own: callers are answered sooner, and make new work meanwhile.
   */
  get isCommitCostly(): boolean {
    return this.#isCommitCostly;
  }

  /** Runs calls that change nothing. */
  read(now: number, calls: readonly Call[]): CallResult[] {
    return calls.map((call) => resultOf(() => this.#run(now, call)));
  }

  /** Runs calls in one transaction; they are durable when this returns. */
  write(now: number, calls: readonly Call[]): CallResult[] {
    try {
      const values = this.#inTransaction(() => this.#runAll(now, calls));
      return values.map((value) => ({ ok: true, value }));
    } catch (error) {
      const failed: CallResult = { ok: false, error: packError(codeOf(error), error) };
      // If the begin or the commit failed, no call is at fault and none is repeated: a failed
      // commit may be durable, and a begin has waited `busyTimeoutMs` for a locked file.
      if (calls.length === 1 || error instanceof TransactionFailed) return calls.map(() => failed);
      return calls.flatMap((call) => this.write(now, [call]));
    }
  }

  #inTransaction<Result>(work: () => Result): Result {
    const db = this.#db;
    let Failure: typeof TransactionFailed | undefined = TransactionFailed;
    try {
      db.run("begin immediate");
      Failure = undefined;
      const begunMs = performance.now();
      const result = work();
      const workedMs = performance.now();
      Failure = CommitFailed;
      db.run("commit");
      this.#isCommitCostly = performance.now() - workedMs >= workedMs - begunMs;
      return result;
    } catch (error) {
      if (db.database.isTransaction) db.run("rollback");
      throw Failure ? new Failure((error as Error).message, { cause: error }) : error;
    }
  }

  /** Runs the calls of a batch, which are under way together and so may run in any order. */
  #runAll(now: number, calls: readonly Call[]): unknown[] {
    const answers = new Map<OperationName, unknown[]>();
    for (const name of listOperations) {
      const items = calls.flatMap((call) => (call.name === name ? itemsOf(call) : []));
      if (items.length > 0) {
        answers.set(name, operations[name](this.#db, now, items) as unknown[]);
      }
    }
    return calls.map((call) => {
      const known = answers.get(call.name);
      return known ? known.splice(0, itemsOf(call).length) : this.#run(now, call);
    });
  }

  #run(now: number, { name, argument }: Call): unknown {
    return operations[name](this.#db, now, argument);
  }
}

/** The value or the error of a piece of work. */
export function resultOf(work: () => unknown): CallResult {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    return { ok: false, error: packError("ERR_OUTBOX_STORE", error) };
  }
}

/** The argument of an operation on lists. */
function itemsOf({ argument }: Call): unknown[] {
  return argument as unknown[];
}

/** After an input/output error during a commit it is unknown whether the commit is on the disk. */
function codeOf(error: unknown): "ERR_OUTBOX_IN_DOUBT" | "ERR_OUTBOX_STORE" {
  const SQLITE_IOERR = 10;
  const cause = (error as Error).cause as { errcode?: number } | undefined;
  const ioError = error instanceof CommitFailed && ((cause?.errcode ?? 0) & 0xff) === SQLITE_IOERR;
  return ioError ? "ERR_OUTBOX_IN_DOUBT" : "ERR_OUTBOX_STORE";
}
