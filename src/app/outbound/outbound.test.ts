import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { SimClock } from "../../../test/support/sim-clock.ts";
import type { Logger } from "../observe/log.ts";
import { loadSettings } from "../settings/settings.ts";
import { MailOut } from "./outbound.ts";
import { openSenders } from "./senders.ts";

/** Opens mail out on a data folder that may not be there yet; the log as lines, and whoever waits for one. */
function lab(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "postbag-mail-out-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const data = join(folder, "data");
  const { settings } = loadSettings({ flags: { data }, environment: {}, workingFolder: folder });
  const clock = new SimClock();
  const lines: string[] = [];
  let heard = () => {};
  const tell = (_facts: unknown, text?: string) => {
    lines.push(text ?? String(_facts));
    heard();
  };
  const log = { info: tell, warn: tell, error: tell } as unknown as Logger;
  const says = async (pattern: RegExp) => {
    while (!lines.some((line) => pattern.test(line))) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
  };
  const senders = openSenders({ settings, captured: join(data, "captured") });
  const open = () => MailOut.open({ settings, log, senders, clock });
  return { data, clock, lines, says, open };
}

test("a store that cannot be opened keeps nobody from starting, and is tried until it can", async (t) => {
  const { data, clock, lines, says, open } = lab(t);
  const mailOut = await open();
  mailOut.start();
  assert.equal(mailOut.outbox, undefined);
  assert.match((await mailOut.obstacle()) ?? "", /^the outbox cannot be used: /);
  assert.equal(await mailOut.stats(), undefined);
  mkdirSync(data);
  clock.advance(5_000);
  await says(/mail goes out/);
  assert.equal(await mailOut.obstacle(), undefined);
  const opened: MailOut = mailOut;
  await opened.outbox?.enqueue({ from: "a@x.example", to: "b@y.example", text: "x" });
  await says(/mail delivery sent/);
  assert.deepEqual(lines.filter((line) => line.includes("waits")).length, 1);
  assert.equal(await mailOut.close({ timeoutMs: 5_000 }), 0);
});

test("between stop and close mail is still taken in, and found by the next start", async (t) => {
  const { data, open } = lab(t);
  mkdirSync(data);
  const mailOut = await open();
  mailOut.start();
  mailOut.stop(5_000);
  const enqueued = await mailOut.outbox?.enqueue({ from: "a@x.example", to: "b@y.example" });
  assert.ok(enqueued);
  assert.equal(await mailOut.close({ timeoutMs: 5_000 }), 0);
  assert.equal(await mailOut.close({ timeoutMs: 0 }), 0);
  const next = await open();
  assert.equal((await next.outbox?.get(enqueued.id))?.deliveries.length, 1);
  await next.close({ timeoutMs: 1_000 });
});

test("tables that a newer program changes meanwhile are an obstacle, and it is said why", async (t) => {
  const { data, open } = lab(t);
  mkdirSync(data);
  const mailOut = await open();
  assert.equal(await mailOut.obstacle(), undefined);
  const database = new DatabaseSync(join(data, "outbox.db"));
  database.exec("insert into outbox_migration (version) values (99)");
  database.close();
  assert.match((await mailOut.obstacle()) ?? "", /^the outbox cannot be used any more: .* 99, /);
  await mailOut.close({ timeoutMs: 1_000 });
});

test("tables of a newer version are no fault that passes: the start fails with what to do", async (t) => {
  const { data, open } = lab(t);
  mkdirSync(data);
  await (await open()).close({ timeoutMs: 1_000 });
  const database = new DatabaseSync(join(data, "outbox.db"));
  database.exec("insert into outbox_migration (version) values (99)");
  database.close();
  await assert.rejects(open(), { code: "ERR_APP_OUTBOX" });
});
