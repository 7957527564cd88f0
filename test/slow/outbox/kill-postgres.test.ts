/** `kill -9` at the points of `test/outbox/faults/kill.test.ts`, on PostgreSQL. */
import {
  furtherPoints,
  statePoints,
  testKillPoints,
} from "../../outbox/faults/support/kill-points.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";

// W4
onPostgres((store) => {
  testKillPoints(statePoints, store);
  testKillPoints(furtherPoints, store);
});
