/** The tests of `test/outbox/faults/random-faults.test.ts` on PostgreSQL. */
import { testRandomFaults } from "../../outbox/faults/support/random-faults.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";

onPostgres(testRandomFaults);
