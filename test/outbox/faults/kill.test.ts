/**
 * `kill -9` at the points of a delivery: a real worker process, a real store, a real server. The
 * next worker finds every message, and sends again only what the server may have taken already.
 *
 * On PostgreSQL the points that leave the store in a state of its own; the others are in
 * `test/slow/outbox/kill-postgres.test.ts`.
 */
import { furtherPoints, statePoints, testKillPoints } from "./support/kill-points.ts";
import { onBothStores } from "./support/stores.ts";

// W4
onBothStores((store) => {
  testKillPoints(statePoints, store);
  if (store.name === "SQLite") testKillPoints(furtherPoints, store);
});
