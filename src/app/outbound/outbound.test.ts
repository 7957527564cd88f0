import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { Registry } from "prom-client";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import type { Logger } from "../observe/log.ts";
import { loadSettings } from "../settings/settings.ts";
import { Outbound } from "./outbound.ts";
import { openSenders } from "./senders.ts";

/**
 * Returns `open`, which opens an `Outbound` on the missing folder `data`, the log lines so far, and
 * `logged`, which waits for a line.
 */
function harness(t: TestContext) {
  const folder = temporaryDirectory(t, "outbound");
  const data = join(folder, "data");
  const { settings } = loadSettings({ flags: { data }, environment: {}, workingFolder: folder });
  const clock = new SimClock();
  const lines: string[] = [];
  let onLine = () => {};
  const write = (facts: unknown, text?: string) => {
    lines.push(text ?? String(facts));
    onLine();
  };
  const log = { info: write, warn: write, error: write } as unknown as Logger;
  const logged = async (pattern: RegExp) => {
    while (!lines.some((line) => pattern.test(line))) {
      await new Promise<void>((resolve) => {
        onLine = resolve;
      });
    }
  };
  const senders = openSenders({ settings, captured: join(data, "captured") });
  const open = () => Outbound.open({ settings, log, senders, registry: new Registry(), clock });
  return { data, clock, lines, logged, open };
}

/** Writes a version into the tables of the outbox that is later than this program's. */
function makeNewer(data: string): void {
  const database = new DatabaseSync(join(data, "outbox.db"));
  database.exec("insert into outbox_migration (version) values (99)");
  database.close();
}

test("an outbox that cannot be opened does not stop the start; opening is retried", async (t) => {
  const { data, clock, lines, logged, open } = harness(t);
  const outbound = await open();
  outbound.start();
  assert.equal(outbound.outbox, undefined);
  assert.match((await outbound.notReady()) ?? "", /^the outbox cannot be used: /);
  assert.equal(await outbound.stats(), undefined);
  mkdirSync(data);
  clock.advance(5_000);
  await logged(/^outbox opened/);
  assert.equal(await outbound.notReady(), undefined);
  const opened: Outbound = outbound;
  await opened.outbox?.enqueue({ from: "a@x.example", to: "b@y.example", text: "x" });
  await logged(/mail delivery sent/);
  assert.equal(lines.filter((line) => line.startsWith("outbox not opened")).length, 1);
  assert.equal(await outbound.close({ timeoutMs: 5_000 }), 0);
});

test("mail that is accepted between stop and close is there at the next start", async (t) => {
  const { data, open } = harness(t);
  mkdirSync(data);
  const outbound = await open();
  outbound.start();
  outbound.stop(5_000);
  const enqueued = await outbound.outbox?.enqueue({ from: "a@x.example", to: "b@y.example" });
  assert.ok(enqueued);
  assert.equal(await outbound.close({ timeoutMs: 5_000 }), 0);
  assert.equal(await outbound.close({ timeoutMs: 0 }), 0);
  const next = await open();
  assert.equal((await next.outbox?.get(enqueued.id))?.deliveries.length, 1);
  await next.close({ timeoutMs: 1_000 });
});

test("an open outbox is not ready after a newer version has changed its tables", async (t) => {
  const { data, open } = harness(t);
  mkdirSync(data);
  const outbound = await open();
  assert.equal(await outbound.notReady(), undefined);
  makeNewer(data);
  assert.match((await outbound.notReady()) ?? "", /^the outbox cannot be used any more: .* 99, /);
  await outbound.close({ timeoutMs: 1_000 });
});

test("with outbox tables of a newer version the start fails with ERR_APP_OUTBOX", async (t) => {
  const { data, open } = harness(t);
  mkdirSync(data);
  await (await open()).close({ timeoutMs: 1_000 });
  makeNewer(data);
  await assert.rejects(open(), { code: "ERR_APP_OUTBOX" });
});
