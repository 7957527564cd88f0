/**
 * What every store must do, as one suite: run it with a way to open a store on an empty database.
 *
 * Each test gets a store of its own and moves the store's clock by hand; nothing here waits.
 */
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
  enqueueSuite(name, open);
  leaseSuite(name, open);
  outcomeSuite(name, open);
  routeSuite(name, open);
  manageSuite(name, open);
  eventSuite(name, open);
  showSuite(name, open);
}
