/** What tests of a server under load share. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { temporaryDirectory } from "../../support/temporary.ts";
import { countStored, type startLoad } from "./load.ts";
import { entry, type Server, serve } from "./postbag.ts";

export const mailboxes = Array.from({ length: 8 }, (_, index) => `user${index}@localhost`);
export const hello = "Subject: Hello\n\nIt works.";

/** Requires that each acknowledged message is stored once, each other offered one at most once. */
export function assertNothingLost(server: Server, load: ReturnType<typeof startLoad>): void {
  const stored = countStored(server.data, mailboxes);
  for (const number of load.acknowledged) {
    assert.equal(stored.get(number), 1, `message ${number} was acknowledged`);
  }
  for (const [number, count] of stored) {
    assert.ok(load.offered.has(number) && count === 1, `message ${number} is stored ${count}×`);
  }
}

/** Runs the server under a resource limit that the shell sets before it, such as `ulimit -n 60`. */
export function limited(
  t: TestContext,
  limit: string,
  args: readonly string[] = [],
): Promise<Server> {
  const command = ["sh", "-c", `${limit}; exec "$@"`, "sh", process.execPath, entry] as const;
  return serve(t, join(temporaryDirectory(t), "data"), args, { command: [...command] });
}
