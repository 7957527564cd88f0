/** An outbox on a fresh SQLite file, with a clock that only the test moves. */
import { join } from "node:path";
import type { TestContext } from "node:test";
import { createOutbox, type OutboxOptions, openSqliteStore } from "../../src/outbox/index.ts";
import { SimClock } from "../support/sim-clock.ts";
import { atEnd, temporaryDirectory } from "../support/temporary.ts";

export async function freshOutbox(t: TestContext, options: Partial<OutboxOptions> = {}) {
  const file = join(temporaryDirectory(t, "outbox"), "outbox.db");
  const clock = new SimClock();
  const store = await openSqliteStore({ file, clock });
  const outbox = createOutbox({ store, clock, ...options });
  atEnd(t, () => outbox.close());
  return { outbox, store, clock, file };
}
