/**
 * Query plans of the statements on which speed depends. Connections cache them, so a plan made for
 * empty tables must be right for a million rows: it must be the only possible plan.
 */
import assert from "node:assert/strict";
import pg from "pg";
import { KEEP_PLANS, type OutboxStore, openPostgresStore } from "../../../src/outbox/index.ts";
import { withPostgres } from "../../support/postgres.ts";
import { intend, leased, message, sent } from "../contract/support.ts";

const test = withPostgres({ fsync: false }); // Logic only.

/** The fields used of `explain (format json)`. */
interface Node {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Index Cond"?: string;
  readonly "Subplan Name"?: string;
  readonly Plans?: readonly Node[];
}

/** Runs every prepared statement: the life of a mail, events, and an idempotency key. */
async function liveOnce(store: OutboxStore): Promise<void> {
  const lease = await leased(store);
  await store.renew([lease], 60_000);
  await intend(store, lease);
  await store.complete([sent(lease)]);
  await store.complete([sent(lease)]);
  const { delivery, token } = await leased(store);
  await store.release([{ delivery, token, delayMs: 60_000 }]);
  await store.claimEvents({ limit: 10, leaseMs: 60_000 });
  await store.nextDue("normal");
  const idempotency = {
    scope: "s",
    key: "k",
    contentSha256: new Uint8Array(32),
    keepMs: 60_000,
  };
  for (const expected of ["stored", "duplicate"]) {
    const [answer] = await store.enqueue([message({ idempotency, lane: "bulk" })]);
    assert.equal(answer?.kind, expected);
  }
}

async function preparedBy(pool: pg.Pool): Promise<string[]> {
  const sql = "select statement from pg_prepared_statements where statement ~ 'outbox_'";
  const clients = await Promise.all(Array.from({ length: pool.totalCount }, () => pool.connect()));
  const rows = await Promise.all(clients.map(async (client) => (await client.query(sql)).rows));
  for (const client of clients) client.release();
  return [...new Set(rows.flat().map(({ statement }) => String(statement)))];
}

async function planOf(pool: pg.Pool, statement: string): Promise<readonly Node[]> {
  const { rows } = await pool.query(`explain (generic_plan, format json) ${statement}`);
  return nodesOf(rows[0]["QUERY PLAN"][0].Plan);
}

function nodesOf(node: Node): Node[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

/** The scans of a plan as sorted texts: type, table, index, condition. */
function accessesOf(plan: readonly Node[]): string[] {
  return plan
    .filter((node) => node["Node Type"].includes("Scan") && node["Relation Name"] !== undefined)
    .map(({ "Node Type": type, "Relation Name": table, "Index Name": index, ...node }) =>
      [type, table, index, node["Index Cond"]].join(" "),
    )
    .sort();
}

/** States of the tables at the time of planning. */
const sizes: Readonly<Record<string, string>> = {
  "are new": "select",
  "were emptied": "vacuum analyze",
  "hold ten thousand mails": `insert into postbag.outbox_message
      (id, public_id, reverse_path, message_id_header, doubt, size, created_at)
    select n, gen_random_uuid(), '', '<>', 'resend', 0, 0 from generate_series(1000, 11000) n;
    insert into postbag.outbox_delivery (id, route, lane, expires_at)
    select n * 1024 + 1, 'relay', 1, 0 from generate_series(1000, 11000) n;
    insert into postbag.outbox_queue (delivery_id, due_at, lane, route)
    select n * 1024 + 1, n, 1, 'relay' from generate_series(1000, 11000) n;
    insert into postbag.outbox_recipient (delivery_id, ordinal, address, kind)
    select n * 1024 + 1, 0, '', 'to' from generate_series(1000, 11000) n;
    insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle, cycle_attempt, worker, started_at)
    select n * 1024 + 1, 1, 0, 1, 1, '', 0 from generate_series(1000, 11000) n;
    insert into postbag.outbox_event (type, at, data, due_at)
    select '', 0, '', n from generate_series(1000, 11000) n;
    insert into postbag.outbox_route (route, failures) select n::text, 1 from generate_series(1000, 11000) n;
    analyze`,
};

test("postgres: cached plans use indexes and are equal for empty and full tables", async (t, server) => {
  const connectionString = await server.database();
  const pool = new pg.Pool({ connectionString, options: KEEP_PLANS });
  const store = await openPostgresStore({ pool });
  t.after(async () => {
    await store.close();
    await pool.end();
  });
  await liveOnce(store);
  const statements = await preparedBy(pool);
  assert.ok(statements.length >= 10, `${statements.length} statements`);
  const first = new Map<string, string[]>();
  for (const [size, sql] of Object.entries(sizes)) {
    for (const one of sql.split(";")) await server.sql(one, connectionString);
    for (const statement of statements) {
      const plan = await planOf(pool, statement);
      const accesses = accessesOf(plan);
      const about = `tables that ${size}: ${statement}`;
      for (const access of accesses) {
        assert.match(access, /^Index (Only )?Scan .* \(.*\)$|outbox_migration/, about);
      }
      assert.deepEqual(accesses, first.get(statement) ?? accesses, about);
      first.set(statement, accesses);
      for (const due of plan.filter((node) => node["Subplan Name"] === "CTE due")) {
        const types = nodesOf(due).map((node) => node["Node Type"]);
        assert.ok(!types.includes("Sort"), `due rows are read in index order, with ${about}`);
      }
    }
  }
});

test("postgres: a pool without KEEP_PLANS caches no plan of a join", async (t, server) => {
  const pool = new pg.Pool({ connectionString: await server.database() });
  const store = await openPostgresStore({ pool });
  t.after(async () => {
    await store.close();
    await pool.end();
  });
  await liveOnce(store);
  const cached = await preparedBy(pool);
  assert.deepEqual(
    cached.filter((statement) => /^with (due|held|known) /.test(statement)),
    [],
  );
});
