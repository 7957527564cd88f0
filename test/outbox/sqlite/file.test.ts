/** The file of the SQLite store: schema versions, concurrent processes, killed processes, locks. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { openSqliteStore, sqliteMigrationSql } from "../../../src/outbox/index.ts";
import { temporaryDirectory } from "../../support/temporary.ts";
import { claim, message } from "../contract/support.ts";

function temporaryFile(t: TestContext): string {
  const folder = temporaryDirectory(t, "outbox");
  return join(folder, "outbox.db");
}

test("a missing or newer schema is refused with its version and the remedy", async (t) => {
  const file = temporaryFile(t);
  await assert.rejects(openSqliteStore({ file, migrate: false }), {
    code: "ERR_OUTBOX_SCHEMA_VERSION",
    message: /version 0.*migrate it first/s,
  });
  await (await openSqliteStore({ file })).close();
  using database = new DatabaseSync(file);
  database.exec("insert into outbox_migration (version) values (999)");
  await assert.rejects(openSqliteStore({ file }), {
    code: "ERR_OUTBOX_SCHEMA_VERSION",
    message: /version 999.*a newer program/s,
  });
});

test("the printed SQL creates the same schema as migrate()", async (t) => {
  const [byHand, byItself] = [temporaryFile(t), temporaryFile(t)];
  const database = new DatabaseSync(byHand);
  database.exec(sqliteMigrationSql());
  database.close();
  await (await openSqliteStore({ file: byHand, migrate: false })).close();
  await (await openSqliteStore({ file: byItself })).close();
  const schemaOf = (file: string) => {
    using opened = new DatabaseSync(file);
    return opened.prepare("select name, sql from sqlite_schema order by name").all();
  };
  assert.deepEqual(schemaOf(byHand), schemaOf(byItself));
});

test("stores that open a new file at the same time create one schema", async (t) => {
  const file = temporaryFile(t);
  const options = { file, busyTimeoutMs: 600_000 };
  const stores = await Promise.all(Array.from({ length: 4 }, () => openSqliteStore(options)));
  await Promise.all(stores.map((store) => store.enqueue([message()])));
  assert.equal((await claim(stores[0] as (typeof stores)[0])).deliveries.length, 4);
  await Promise.all(stores.map((store) => store.close()));
});

test("commits are flushed: journal mode WAL, synchronous FULL", async (t) => {
  const file = temporaryFile(t);
  const { Statements } = await import("../../../src/outbox/sqlite/statements.ts");
  const statements = new Statements(file, 0);
  t.after(() => statements.close());
  assert.deepEqual({ ...statements.get("pragma journal_mode") }, { journal_mode: "wal" });
  assert.deepEqual({ ...statements.get("pragma synchronous") }, { synchronous: 2 });
});

test("messages acknowledged before a kill are found by another process", async (t) => {
  const file = temporaryFile(t);
  const program = `
    import { openSqliteStore } from ${JSON.stringify(join(import.meta.dirname, "../../../src/outbox/index.ts"))};
    import { message } from ${JSON.stringify(join(import.meta.dirname, "../contract/support.ts"))};
    const store = await openSqliteStore({ file: process.argv[1] });
    const one = async () => {
      for (;;) {
        const given = message({ id: crypto.randomUUID() });
        await store.enqueue([given]);
        process.stdout.write(given.id + "\\n");
      }
    };
    for (let callers = 0; callers < 8; callers += 1) one();
  `;
  const args = ["--input-type=module-typescript", "-e", program, "--", file];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  let output = "";
  for await (const piece of child.stdout) {
    output += piece;
    if (output.length > 37 * 200) child.kill("SIGKILL");
  }
  await ended;
  const acknowledged = output.split("\n").slice(0, -1); // The last line may be cut.
  const store = await openSqliteStore({ file });
  t.after(() => store.close());
  const found = new Set<string>();
  for (;;) {
    const { deliveries } = await claim(store, { limit: 1000 });
    if (deliveries.length === 0) break;
    for (const { messageId, recipients } of deliveries) {
      found.add(messageId);
      assert.equal(recipients.length, 1);
    }
  }
  assert.ok(acknowledged.length >= 200);
  assert.deepEqual(
    acknowledged.filter((id) => !found.has(id)),
    [],
  );
});

test("a locked file refuses a write after the timeout; the store then goes on", async (t) => {
  const file = temporaryFile(t);
  const store = await openSqliteStore({ file, busyTimeoutMs: 20 });
  t.after(() => store.close());
  using other = new DatabaseSync(file);
  other.exec("begin immediate");
  await assert.rejects(store.enqueue([message()]), { code: "ERR_OUTBOX_STORE", message: /locked/ });
  other.exec("rollback");
  assert.equal((await store.enqueue([message()]))[0]?.kind, "stored");
});

test("an argument that JSON cannot express rejects its own call only", async (t) => {
  const store = await openSqliteStore({ file: temporaryFile(t) });
  t.after(() => store.close());
  const circle: Record<string, unknown> = {};
  circle.itself = circle;
  const results = await Promise.allSettled([
    store.enqueue([message()]),
    store.enqueue([message({ tags: circle as never })]),
    store.enqueue([message()]),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const { code, message: text } = (results[1] as PromiseRejectedResult).reason;
  assert.equal(code, "ERR_OUTBOX_OPTION");
  assert.match(text, /argument of enqueue is not JSON; nothing was changed: .*circular/);
  assert.equal((await claim(store)).deliveries.length, 2);
});

test("calls that need more than one request each get their own result", async (t) => {
  for (const maxBatch of [1, 3, 128]) {
    const store = await openSqliteStore({ file: temporaryFile(t), maxBatch });
    t.after(() => store.close());
    const given = Array.from({ length: 300 }, () => message());
    const stored = await Promise.all(given.map(async (one) => (await store.enqueue([one]))[0]?.id));
    assert.deepEqual(
      stored,
      given.map(({ id }) => id),
    );
    const { deliveries } = await claim(store, { limit: 1000 });
    const byId = new Map(deliveries.map(({ messageId, bytes }) => [messageId, bytes]));
    for (const { id, bytes } of given) {
      assert.deepEqual(Buffer.from(byId.get(id) as Uint8Array), bytes);
    }
  }
});

test("invalid options are refused with the value received", async () => {
  for (const [options, message] of [
    [{ file: "" }, /file must be a path; got ""/],
    [{ file: ":memory:" }, /file must be a path/],
    [{ file: "x", maxBatch: 0 }, /maxBatch .* got 0/],
    [{ file: "x", busyTimeoutMs: -1 }, /busyTimeoutMs .* got -1/],
  ] as const) {
    await assert.rejects(openSqliteStore(options), { code: "ERR_OUTBOX_OPTION", message });
  }
  await assert.rejects(openSqliteStore({ file: "/nowhere/at/all.db" }), {
    code: "ERR_OUTBOX_STORE",
  });
});
