/**
 * The tables in SQLite, as numbered migrations that only go forward, and the versions that this
 * program understands.
 *
 * The tables are narrow, because each message pays for every row and index. The key of a delivery
 * is computed from that of its message, so neither needs an index to find the other. The queue is
 * two columns of the delivery and a partial index: SQLite updates in place, so a table of its own
 * would only cost. A public id is 16 bytes. Instants are milliseconds since 1970 UTC.
 *
 * `late_end` of an attempt is null unless its lease was lost; then it shows whether the attempt
 * ended its delivery all the same.
 */
import type { DatabaseSync } from "node:sqlite";
import { checkSchemaVersion } from "../model/stored-rows.ts";

const steps: readonly string[] = [
  `create table outbox_message (
  id integer primary key,
  public_id blob not null unique,
  reverse_path text not null,
  message_id_header text not null,
  subject text,
  template text,
  tags text,
  doubt text not null,
  size integer not null,
  created_at integer not null,
  bytes blob
);
create table outbox_delivery (
  id integer primary key,
  route text not null,
  lane integer not null,
  state text not null default 'pending',
  queue_lane integer,
  due_at integer,
  token integer,
  blind integer not null default 0,
  doubt integer not null default 0,
  parked integer not null default 0,
  crashes integer not null default 0,
  cycle integer not null default 1,
  cycle_attempts integer not null default 0,
  expires_at integer not null,
  finished_at integer,
  reason text,
  last_reply text,
  message_id_header text
);
create index outbox_delivery_due on outbox_delivery (queue_lane, due_at, token) where due_at is not null;
create index outbox_delivery_parked on outbox_delivery (route) where parked = 1;
create index outbox_delivery_ended on outbox_delivery (state) where state in ('dead', 'cancelled', 'in_doubt');
create table outbox_recipient (
  delivery integer not null,
  ordinal integer not null,
  address text not null,
  kind text not null,
  status text not null default 'pending',
  reply text,
  primary key (delivery, ordinal)
) without rowid;
create table outbox_attempt (
  delivery integer not null,
  attempt_no integer not null,
  token integer not null,
  cycle integer not null,
  cycle_attempt integer not null,
  worker text not null,
  started_at integer not null,
  finished_at integer,
  outcome text,
  reply text,
  via text,
  late_end integer,
  primary key (delivery, attempt_no)
) without rowid;
create table outbox_idempotency (
  scope text not null,
  key text not null,
  content_sha256 blob not null,
  public_id blob not null,
  expires_at integer not null,
  primary key (scope, key)
) without rowid;
create index outbox_idempotency_expiry on outbox_idempotency (expires_at);
create table outbox_route (
  route text primary key,
  failures integer not null default 0,
  blocked_until integer,
  reason text
) without rowid;
create table outbox_event (
  seq integer primary key autoincrement,
  type text not null,
  delivery integer,
  cycle integer,
  at integer not null,
  data text not null,
  due_at integer,
  tries integer not null default 0
);
create index outbox_event_due on outbox_event (due_at, seq) where due_at is not null;
create table outbox_counter (name text primary key, value integer not null) without rowid;
insert into outbox_counter values ('token', 0);`,
];

/** The newest schema, which {@link migrate} makes. */
const newestSchemaVersion = steps.length;
/** The oldest schema that this program understands. */
const oldestSchemaVersion = 1;

/** The SQL of all migrations after version `from`, for operators who run it themselves. */
export function migrationSql(from = 0): string {
  const later = steps.slice(from).map((sql, index) => {
    const version = from + index + 1;
    return `-- version ${version}\n${sql}\ninsert into outbox_migration (version) values (${version});`;
  });
  return [`${MIGRATION_TABLE};`, ...later].join("\n\n");
}

const MIGRATION_TABLE = "create table if not exists outbox_migration (version integer primary key)";

/** Runs all missing migrations, each in a transaction that locks out every other process. */
export function migrate(database: DatabaseSync): { from: number; to: number } {
  const from = schemaVersion(database);
  for (;;) {
    database.exec("begin exclusive");
    try {
      database.exec(MIGRATION_TABLE);
      const version = schemaVersion(database); // Another process may have been faster.
      const step = steps[version];
      if (step !== undefined) {
        database.exec(step);
        database.prepare("insert into outbox_migration (version) values (?)").run(version + 1);
      }
      database.exec("commit");
      if (step === undefined) return { from, to: version };
    } catch (error) {
      if (database.isTransaction) database.exec("rollback");
      throw error;
    }
  }
}

/** @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION unless this program understands the schema. */
export function checkVersion(database: DatabaseSync): void {
  const version = schemaVersion(database);
  checkSchemaVersion(version, oldestSchemaVersion, newestSchemaVersion);
}

function schemaVersion(database: DatabaseSync): number {
  const known = database
    .prepare("select 1 from sqlite_schema where type = 'table' and name = 'outbox_migration'")
    .get();
  if (known === undefined) return 0;
  const row = database.prepare("select max(version) as version from outbox_migration").get();
  return Number(row?.version ?? 0);
}
