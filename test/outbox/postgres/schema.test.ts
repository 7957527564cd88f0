/** The tables in PostgreSQL: migrations, schemas, pools, stored text, the SQL function. */
import assert from "node:assert/strict";
import pg from "pg";
import { openPostgresStore, postgresMigrationSql } from "../../../src/outbox/index.ts";
import { withPostgres } from "../../support/postgres.ts";
import { claimOne, leased, message, sent, shown } from "../contract/support.ts";

const test = withPostgres({ fsync: false }); // Logic only.
const NEWEST = 2;
const COLUMNS = `select table_name, column_name, data_type, column_default, is_nullable
  from information_schema.columns where table_schema = 'postbag' order by 1, 2`;

for (let version = 0; version <= NEWEST; version += 1) {
  test(`postgres: version ${version} is migrated alike by migrate() and by printed SQL`, async (t, server) => {
    const [ours, byHand] = [await server.database(), await server.database()];
    for (const database of [ours, byHand]) {
      if (version > 0) await server.sql(postgresMigrationSql({ to: version }), database);
    }
    const store = await openPostgresStore({ connectionString: ours, migrate: false }).catch(
      (error) => {
        assert.equal(version, 0, "an older version can be worked with");
        assert.equal(error.code, "ERR_OUTBOX_SCHEMA_VERSION");
        return openPostgresStore({ connectionString: ours });
      },
    );
    t.after(() => store.close());
    const { to } = await store.migrate();
    assert.equal(to, NEWEST);
    await server.sql(postgresMigrationSql({ from: version }), byHand);
    assert.deepEqual(await server.sql(COLUMNS, ours), await server.sql(COLUMNS, byHand));
    const lease = await leased(store);
    assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
  });
}

test("postgres: concurrent migrations create one schema", async (_t, server) => {
  const connectionString = await server.database();
  const stores = await Promise.all(
    Array.from({ length: 4 }, () => openPostgresStore({ connectionString, maxConnections: 2 })),
  );
  const made = await server.sql(
    "select version from postbag.outbox_migration order by 1",
    connectionString,
  );
  assert.deepEqual(
    made.map(({ version }) => version),
    [1, 2],
  );
  await Promise.all(stores.map((store) => store.close()));
});

test("postgres: a newer schema is refused with both versions", async (_t, server) => {
  const connectionString = await server.database();
  await (await openPostgresStore({ connectionString })).close();
  await server.sql("insert into postbag.outbox_migration values (99)", connectionString);
  await assert.rejects(openPostgresStore({ connectionString }), {
    code: "ERR_OUTBOX_SCHEMA_VERSION",
    message: /99.*1 to 2.*newer program/,
  });
});

test("postgres: two stores with any schema names share a caller's pool", async (_t, server) => {
  const pool = new pg.Pool({ connectionString: await server.database() });
  const stores = await Promise.all(
    ["postbag", 'we"ird $&'].map((schema) => openPostgresStore({ pool, schema })),
  );
  for (const store of stores) {
    const lease = await leased(store);
    assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
    assert.equal((await shown(store, lease.id)).state, "done");
    await store.close();
  }
  assert.equal((await pool.query("select 1 as one")).rows[0].one, 1, "the pool is still open");
  await pool.end();
});

test("postgres: invalid options are refused with the value received", async () => {
  const connectionString = "postgres://127.0.0.1/none";
  for (const [options, text] of [
    [{}, /connectionString or pool/],
    [{ connectionString, schema: "" }, /schema.*""/],
    [{ connectionString, timeoutMs: 0 }, /timeoutMs.*0/],
    [{ connectionString, maxConnections: 1 }, /maxConnections.*1/],
    [{ connectionString, maxBatch: 1.5 }, /maxBatch.*1\.5/],
  ] as const) {
    const refused = { code: "ERR_OUTBOX_OPTION", message: text };
    await assert.rejects(openPostgresStore(options), refused);
  }
});

test("postgres: text the server cannot store is refused alone, a subject is cleaned", async (t, server) => {
  const store = await openPostgresStore({ connectionString: await server.database() });
  t.after(() => store.close());
  const cut = message({ subject: `${"x".repeat(199)}🚂` });
  const nul = message({ subject: "a\0b", tags: { 'q"\\': "{,}" } });
  const answers = await Promise.allSettled([
    store.enqueue([cut]),
    store.enqueue([message({ messageIdHeader: "<a\0@example.org>" })]),
    store.enqueue([nul]),
  ]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal((await store.get(cut.id))?.subject, `${"x".repeat(199)}\ufffd`);
  assert.equal((await store.get(nul.id))?.subject, "ab");
  assert.deepEqual((await store.get(nul.id))?.tags, { 'q"\\': "{,}" });
});

test("postgres: replies with quotes, braces and line ends are read back unchanged", async (t, server) => {
  const store = await openPostgresStore({ connectionString: await server.database() });
  t.after(() => store.close());
  const reply = {
    code: 250,
    text: '2.0.0 "ok" {a,b} \\ null\r\nGrüße 🚂',
    phase: "message",
  } as const;
  const lease = await leased(store);
  const attempt = {
    worker: 'w"1\\',
    elapsedMs: 1.6,
    outcome: "delivered",
    spends: true,
    reply,
    via: "",
  } as const;
  await store.complete([sent(lease, { attempt })]);
  const [made] = await store.attempts(lease.id);
  assert.deepEqual([made?.worker, made?.reply, made?.via], [attempt.worker, reply, ""]);
  assert.deepEqual((await shown(store, lease.id)).lastReply, reply);
});

test("postgres: a missing database is reported by its name", async (_t, server) => {
  const connectionString = server.connectionString("not_there");
  await assert.rejects(openPostgresStore({ connectionString }), {
    code: "ERR_OUTBOX_STORE",
    message: /not_there/,
  });
});

test("postgres: the SQL function enqueues for programs in other languages", async (t, server) => {
  const connectionString = await server.database();
  const store = await openPostgresStore({ connectionString });
  t.after(() => store.close());
  const client = new pg.Client({ connectionString });
  await client.connect();
  t.after(() => client.end());
  const call = async (changes: object) => {
    const mail = {
      reversePath: "sender@example.org",
      messageIdHeader: "<1@example.org>",
      subject: "Grüße",
      bytesBase64: Buffer.from([72, 105, 0, 255]).toString("base64"),
      lane: "critical",
      deliveries: [{ route: "relay", recipients: [{ address: "you@example.com" }] }],
      ...changes,
    };
    const { rows } = await client.query("select postbag.outbox_enqueue($1) as answer", [mail]);
    return rows[0].answer;
  };
  const idempotency = { key: "order-1" };
  const stored = await call({ idempotency });
  assert.equal(stored.kind, "stored");
  assert.deepEqual(await call({ idempotency }), { kind: "duplicate", id: stored.id });
  const other = { idempotency, bytesBase64: "AAAA" };
  assert.deepEqual(await call(other), { kind: "conflict", id: stored.id });
  const lease = await claimOne(store, { lane: "critical" });
  assert.equal(lease.messageId, stored.id);
  assert.deepEqual(Buffer.from(lease.bytes ?? []), Buffer.from([72, 105, 0, 255]));
  assert.deepEqual(
    lease.recipients.map(({ address, kind, status }) => [address, kind, status]),
    [["you@example.com", "to", "pending"]],
  );
  assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
  for (const changes of [
    { deliveries: [] },
    { deliveries: [{ route: "relay", recipients: [] }] },
    { lane: "express" },
    { bytesBase64: undefined },
  ]) {
    await assert.rejects(call(changes), { code: "22023" }, JSON.stringify(changes));
  }
  await store.enqueue([message()]);
});
