/** The tests of `test/outbox/faults/expired-leases.test.ts` on PostgreSQL. */
import { testExpiredLeases } from "../../outbox/faults/support/expired-leases.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";

onPostgres(testExpiredLeases);
