/**
 * The contract of `OutboxStore` as one suite, run with a function that opens a store on an empty
 * database.
 *
 * Each test gets a store of its own and moves the store's clock by hand; no test waits for time.
 */
import { describe } from "node:test";
import { enqueueSuite } from "./enqueue.ts";
import { eventSuite } from "./events.ts";
import { leaseSuite } from "./lease.ts";
import { manageSuite } from "./manage.ts";
import { outcomeSuite } from "./outcome.ts";
import { routeSuite } from "./routes.ts";
import { showSuite } from "./show.ts";
import type { OpenStore } from "./support.ts";

export type { OpenStore, StoreUnderTest } from "./support.ts";

/** Registers all tests under the name of the store. */
export function conformance(name: string, open: OpenStore): void {
  describe(name, () => {
    enqueueSuite(open);
    leaseSuite(open);
    outcomeSuite(open);
    routeSuite(open);
    manageSuite(open);
    eventSuite(open);
    showSuite(open);
  });
}
