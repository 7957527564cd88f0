/**
 * `kill -9` at the points of a delivery: a real worker process, a real store, a real server. The
 * next worker finds every message, and sends a second copy only of mail that is in doubt.
 *
 * On PostgreSQL this file tests only the points that leave the store in different states;
 * `test/slow/outbox/kill-postgres.test.ts` tests the others.
 */
import { furtherPoints, statePoints, testKillPoints } from "./support/kill-points.ts";
import { onBothStores } from "./support/stores.ts";

// W4
onBothStores((store) => {
  testKillPoints(statePoints, store);
  if (store.name === "SQLite") testKillPoints(furtherPoints, store);
});
