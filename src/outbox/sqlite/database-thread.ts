/**
 * The file of the database thread, which `start-thread.ts` starts: receives requests, each a batch
 * of calls, and answers with a result per call.
 *
 * Everything is synchronous here and blocks no other thread. Requests that arrive during a commit
 * share the next commit, while a commit takes longer than the work in it.
 */
import { invariant, type ThreadCall, threadServer } from "../../system/index.ts";
import { buffersOf, type CallsRequest, type DatabaseProtocol, unpackBatch } from "./protocol.ts";
import { CallRunner, resultOf } from "./run-calls.ts";
import { checkVersion, migrate } from "./schema.ts";
import { Statements } from "./statements.ts";

/** A request with the way to answer it. */
type Asked = ThreadCall<DatabaseProtocol>;

const thread = threadServer<DatabaseProtocol>();
const { file, busyTimeoutMs } = thread.options;

try {
  serve(new Statements(file, busyTimeoutMs));
} catch (error) {
  thread.notStarted(error);
}

function serve(db: Statements): void {
  const runner = new CallRunner(db);
  thread.serve(
    (first) => {
      for (let next: Asked | undefined = first; next; ) {
        const asked = [next];
        next = thread.next();
        while (isWrite(asked[0]) && isWrite(next) && runner.isCommitCostly) {
          asked.push(next);
          next = thread.next();
        }
        answer(db, runner, asked);
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
function answer(db: Statements, runner: CallRunner, asked: readonly Asked[]): void {
  const [first] = asked;
  invariant(first, "at least one request is answered");
  const { request } = first;
  if ("text" in request) {
    answerCalls(runner, asked);
  } else {
    const work = request.kind === "migrate" ? migrate : checkVersion;
    first.answer([resultOf(() => work(db.database))]);
  }
}

function answerCalls(runner: CallRunner, asked: readonly Asked[]): void {
  const requests = asked.map(({ request }) => request as CallsRequest);
  const callsOf = requests.map(unpackBatch);
  const last = requests.at(-1);
  invariant(last, "at least one request is answered");
  const results = runner[last.kind](last.now, callsOf.flat());
  for (const [index, calls] of callsOf.entries()) {
    const own = results.splice(0, calls.length);
    asked[index]?.answer(own, buffersOf(calls, own));
    // The database has a copy of these bytes, and large messages would fill memory until collected.
    requests[index]?.bytes.transfer(0);
  }
}
