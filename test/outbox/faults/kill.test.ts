/**
 * `kill -9` at the points of a delivery: a real worker process, a real store, a real server. The
 * next worker finds every message, and sends a second copy only of mail that is in doubt.
 *
 * On PostgreSQL: `test/slow/outbox/kill-postgres.test.ts`.
 */
import { furtherPoints, statePoints, testKillPoints } from "./support/kill-points.ts";
import { onSqlite } from "./support/stores.ts";

// W4
onSqlite((store) => {
  testKillPoints(statePoints, store);
  testKillPoints(furtherPoints, store);
});
