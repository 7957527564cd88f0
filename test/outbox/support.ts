/** An outbox on a fresh SQLite file, with a clock that a test moves. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { createOutbox, type OutboxOptions, openSqliteStore } from "../../src/outbox/index.ts";
import { SimClock } from "../support/sim-clock.ts";

export async function freshOutbox(t: TestContext, options: Partial<OutboxOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "postbag-outbox-"));
  const file = join(folder, "outbox.db");
  const clock = new SimClock();
  const store = await openSqliteStore({ file, clock });
  const outbox = createOutbox({ store, clock, ...options });
  t.after(async () => {
    await outbox.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { outbox, store, clock, file };
}
