/**
 * What a power cut at any instant leaves of the SQLite store: the database and its log as they are then.
 * The log only grows here, so a copy of both is the disk of some instant between the copy's start and end.
 * Cuts of a real disk, with what it had not flushed, are in test/slow/powercut/outbox.test.ts.
 */
import assert from "node:assert/strict";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import type { NewMessage } from "../../../src/outbox/index.ts";
import { become, faultLab, temporaryFile } from "./support/fault-harness.ts";
import { letter } from "./support/outbox-expectations.ts";
import { openStoreAt } from "./support/place.ts";

interface Cut {
  readonly file: string;
  /** What was acknowledged before the copy began. */
  readonly acknowledged: readonly NewMessage[];
  /** Message-IDs whose final dot had come before the copy began. */
  readonly dots: readonly string[];
  /** How many the worker had told to be sent, which it does when that is durable. */
  readonly completed: number;
}

test("a cut at any instant keeps every acknowledged mail, and the intent of every dot that was sent", async (t) => {
  const file = temporaryFile(t);
  const lab = await faultLab(t, { place: { kind: "sqlite", file } });
  const worker = lab.worker({ concurrency: 4 });
  const acknowledged: NewMessage[] = [];
  const cuts: Cut[] = [];
  let isWorking = true;

  async function enqueue(): Promise<void> {
    while (isWorking) {
      const message = letter({ doubt: acknowledged.length % 2 === 0 ? "hold" : "resend" });
      await lab.ledger.enqueue(message);
      acknowledged.push(message);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async function cut(): Promise<void> {
    const folder = join(dirname(file), `cut-${cuts.length}`);
    await mkdir(folder);
    const copy = join(folder, "outbox.db");
    const dots = lab.sink.mails.map(({ data }) => /<.*?>/.exec(data)?.[0] ?? "");
    const completed = worker.stats().carried.sent;
    const known = { acknowledged: [...acknowledged], dots, completed };
    await copyFile(file, copy);
    await copyFile(`${file}-wal`, `${copy}-wal`);
    cuts.push({ file: copy, ...known });
  }

  const work = [enqueue(), enqueue(), enqueue()];
  worker.start();
  while (cuts.length < 15) {
    const before = lab.sink.mails.length;
    await cut();
    while (lab.sink.mails.length < before + 3)
      await new Promise((resolve) => setImmediate(resolve));
  }
  isWorking = false;
  await Promise.all(work);
  await worker.stop();

  for (const { file: copy, acknowledged: known, dots, completed } of cuts) {
    const store = await openStoreAt({ kind: "sqlite", file: copy });
    const withDot = new Set(dots);
    let delivered = 0;
    for (const message of known) {
      const row = await store.get(message.id);
      assert.ok(row, "an acknowledged mail is gone");
      assert.equal(row.size, message.bytes.length);
      if (row.deliveries[0]?.state === "done") delivered += 1;
      if (!withDot.has(message.messageIdHeader)) continue;
      const attempts = await store.attempts(`${message.id}.1`);
      assert.ok(attempts.length > 0, "a dot was sent, and nobody knows after the cut");
    }
    assert.ok(delivered >= completed, `${completed} were told to be durable, ${delivered} are`);
    await store.close();
  }
  for (const cut of [cuts[3], cuts[8], cuts[14]]) await goOnAfter(cut as Cut, t);
});

/** A worker begins where the cut left off: all is sent, twice only in doubt, and never what is to be held. */
async function goOnAfter({ file, acknowledged, dots }: Cut, t: TestContext): Promise<void> {
  const after = await faultLab(t, { place: { kind: "sqlite", file } });
  const worker = after.worker({ concurrency: 8 });
  worker.start();
  await become("everything has ended", () => after.ledger.isOver());
  await worker.stop();
  const sentAfter = after.sink.mails.map(({ data }) => /<.*?>/.exec(data)?.[0] ?? "");
  for (const { id, messageIdHeader, doubt } of acknowledged) {
    const [isBefore, again] = [dots, sentAfter].map((sent) => sent.includes(messageIdHeader));
    const attempts = await after.store.attempts(`${id}.1`);
    if (isBefore && again) {
      assert.equal(doubt, "resend", "held, and sent twice");
      assert.equal(attempts[0]?.outcome, "in_doubt", "sent twice, and not on record");
    }
    const state = (await after.store.get(id))?.deliveries[0]?.state;
    // Its intent was on the disk, whether its dot was sent or not.
    const isHeld = doubt === "hold" && state === "in_doubt" && attempts.length === 1;
    assert.ok(isBefore || again || isHeld || attempts[0]?.outcome === "delivered", "lost");
  }
}
