/**
 * What every store must do, as one suite: run it with a way to open a store on an empty database.
 *
 * Each test gets a store of its own and moves the store's clock by hand; nothing here waits.
 */
import { enqueueSuite } from "./conformance/enqueue.ts";
import { eventSuite } from "./conformance/events.ts";
import { leaseSuite } from "./conformance/lease.ts";
import { manageSuite } from "./conformance/manage.ts";
import { outcomeSuite } from "./conformance/outcome.ts";
import { routeSuite } from "./conformance/routes.ts";
import { showSuite } from "./conformance/show.ts";
import type { OpenStore } from "./conformance/support.ts";

export type { OpenStore, StoreUnderTest } from "./conformance/support.ts";

/** Registers all tests under the name of the store. */
export function conformance(name: string, open: OpenStore): void {
  enqueueSuite(name, open);
  leaseSuite(name, open);
  outcomeSuite(name, open);
  routeSuite(name, open);
  manageSuite(name, open);
  eventSuite(name, open);
  showSuite(name, open);
}
