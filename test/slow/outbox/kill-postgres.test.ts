/**
 * `kill -9` on PostgreSQL at the points that `test/outbox/faults/kill.test.ts` tries on SQLite
 * alone.
 */
import { furtherPoints, testKillPoints } from "../../outbox/faults/support/kill-points.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";

onPostgres((store) => testKillPoints(furtherPoints, store));
