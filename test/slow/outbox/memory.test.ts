/** A worker needs as much memory after twenty thousand mails as after a third of them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { type NewMessage, openSqliteStore, uuidv7 } from "../../../src/outbox/index.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

const MiB = 1024 * 1024;
const count = 20_000;
const program = join(import.meta.dirname, "drain-program.ts");
/** So small that a leak of some bytes for each mail cannot hide among garbage. */
const smallHeap = ["--expose-gc", "--max-old-space-size=64", "--max-semi-space-size=4"];

const body = Buffer.from(`Subject: one of many\r\n\r\n${"All the same. ".repeat(72)}\r\n`);

function mail(): NewMessage {
  const id = uuidv7(Date.now());
  return {
    ...{ id, reversePath: "a@here.example", bytes: body, messageIdHeader: `<${id}@here.example>` },
    ...{ doubt: "resend", lane: "normal", expireAfterMs: 24 * 60 * 60 * 1_000 },
    deliveries: [{ route: "relay", recipients: [{ address: "b@there.example", kind: "to" }] }],
  };
}

test("the memory of a worker does not grow with the queue that it drains", async (t) => {
  const file = join(temporaryDirectory(t), "outbox.db");
  const store = await openSqliteStore({ file });
  for (let done = 0; done < count; done += 500) {
    await store.enqueue(Array.from({ length: 500 }, mail));
  }
  await store.close();

  const args = [...smallHeap, program, file, String(count)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const [third, whole] = JSON.parse(stdout) as { resident: number; used: number }[];
  assert.ok(third && whole);
  const grown = (of: "resident" | "used") => (whole[of] - third[of]) / MiB;
  // After 13,333 more mails of a kilobyte each: 80 bytes left of each would show.
  assert.ok(grown("used") < 1, `${grown("used")} MiB more in use`);
  assert.ok(grown("resident") < 32, `${grown("resident")} MiB more resident`);
});
