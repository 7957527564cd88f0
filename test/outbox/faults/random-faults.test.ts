/**
 * Every fault at once, by a seed: an application that enqueues and cancels, worker processes that
 * are killed and replaced, a server that drops, refuses and defers, a purge that never pauses.
 *
 * `POSTBAG_FAULT_ROUNDS=20` makes it twenty times longer, `POSTBAG_FAULT_SEED=7` another sequence.
 *
 * On PostgreSQL: `test/slow/outbox/random-faults-postgres.test.ts`.
 */
import { testRandomFaults } from "./support/random-faults.ts";
import { onSqlite } from "./support/stores.ts";

onSqlite(testRandomFaults);
