import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { CallRunner } from "../../../src/outbox/sqlite/run-calls.ts";
import { migrate } from "../../../src/outbox/sqlite/schema.ts";
import { Statements } from "../../../src/outbox/sqlite/statements.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { message } from "../contract/support.ts";

/** A connection that does not wait for locks and counts the transactions it begins. */
class CountingStatements extends Statements {
  begins = 0;

  override run(...given: Parameters<Statements["run"]>): number {
    if (given[0] === "begin immediate") this.begins += 1;
    return super.run(...given);
  }
}

function opened(t: TestContext) {
  const file = join(temporaryDirectory(t, "outbox"), "outbox.db");
  const db = new CountingStatements(file, 0);
  migrate(db.database);
  atEnd(t, () => db.close());
  return { db, file, runner: new CallRunner(db) };
}

const enqueue = (id?: string) => ({
  name: "enqueue" as const,
  argument: [id === undefined ? message() : message({ id })],
});

test("calls whose transaction cannot begin wait for the lock together, once", (t) => {
  const { db, file, runner } = opened(t);
  using other = new DatabaseSync(file);
  other.exec("begin immediate");
  const results = runner.write(
    0,
    Array.from({ length: 50 }, () => enqueue()),
  );
  assert.equal(db.begins, 1);
  assert.equal(results.length, 50);
  for (const result of results) {
    assert.ok(!result.ok && result.error.code === "ERR_OUTBOX_STORE");
    assert.match(result.error.message, /locked/);
  }
});

test("after a failed call each call runs in a transaction of its own", (t) => {
  const { db, runner } = opened(t);
  const first = enqueue();
  const again = enqueue(first.argument[0]?.id);
  const results = runner.write(0, [first, again, enqueue()]);
  assert.deepEqual(
    results.map(({ ok }) => ok),
    [true, false, true],
  );
  assert.equal(db.begins, 4);
});
