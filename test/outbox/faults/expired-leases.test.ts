/**
 * Worker processes that are stopped for longer than their leases and then continued, several
 * processes on one store, and processes that are killed again and again.
 *
 * `POSTBAG_FAULT_ROUNDS=20` kills twenty times as often.
 *
 * On PostgreSQL: `test/slow/outbox/expired-leases-postgres.test.ts`.
 */
import { testExpiredLeases } from "./support/expired-leases.ts";
import { onSqlite } from "./support/stores.ts";

onSqlite(testExpiredLeases);
