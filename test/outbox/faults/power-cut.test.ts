/**
 * A power cut of the SQLite store at any instant: a copy of the database and its log. The log only
 * grows here, so a copy of both is the disk at some instant between the start and the end of the
 * copy.
 *
 * Cuts of a real disk, without what it had not flushed, are in test/slow/powercut/outbox.test.ts.
 */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import type { NewMessage } from "../../../src/outbox/index.ts";
import { eventually, faultHarness, leaseMs, temporaryFile } from "./support/fault-harness.ts";
import { newMessage } from "./support/outbox-expectations.ts";
import { sqliteClock } from "./support/store-clock.ts";
import { openStoreAt } from "./support/store-location.ts";

interface Cut {
  readonly file: string;
  /** Messages that were acknowledged before the copy began. */
  readonly acknowledged: readonly NewMessage[];
  /** Message-IDs whose final dot had come before the copy began. */
  readonly dots: readonly string[];
  /** Deliveries that the worker had reported as sent, which it does when that is durable. */
  readonly completed: number;
}

/** How many mails wait to be sent at any time. */
const backlog = 12;

test("a cut at any instant keeps acknowledged mail and the intent of every sent dot", async (t) => {
  const file = temporaryFile(t);
  const dots = new EventEmitter();
  const { expectations, sink, ...harness } = await faultHarness(t, {
    location: { kind: "sqlite", file },
    sink: {
      answer: ({ verb }) => {
        if (verb === "dot") dots.emit("dot");
        return undefined;
      },
    },
  });
  const worker = harness.worker({ concurrency: 4 });
  const acknowledged: NewMessage[] = [];
  const cuts: Cut[] = [];
  let isWorking = true;

  async function enqueue(): Promise<void> {
    while (isWorking) {
      const message = newMessage({ doubt: acknowledged.length % 2 === 0 ? "hold" : "resend" });
      await expectations.enqueue(message);
      acknowledged.push(message);
      while (acknowledged.length > sink.mails.length + backlog) await once(dots, "dot");
    }
  }

  async function cut(): Promise<void> {
    const folder = join(dirname(file), `cut-${cuts.length}`);
    await mkdir(folder);
    const copy = join(folder, "outbox.db");
    const known = {
      acknowledged: [...acknowledged],
      dots: sink.mails.map(({ data }) => messageIdOf(data)),
      completed: worker.stats().carried.sent,
    };
    await copyFile(file, copy);
    await copyFile(`${file}-wal`, `${copy}-wal`);
    cuts.push({ file: copy, ...known });
  }

  const work = [enqueue(), enqueue(), enqueue()];
  worker.start();
  while (cuts.length < 15) {
    await cut();
    for (let more = 0; more < 3; more += 1) await once(dots, "dot");
  }
  isWorking = false;
  await Promise.all(work);
  await worker.stop();

  for (const each of cuts) await checkCut(each);
  for (const cut of [cuts[3], cuts[8], cuts[14]]) await goOnAfter(cut as Cut, t);
});

const messageIdOf = (data: string) => /<.*?>/.exec(data)?.[0] ?? "";

async function checkCut({ file, acknowledged, dots, completed }: Cut): Promise<void> {
  const store = await openStoreAt({ kind: "sqlite", file });
  const withDot = new Set(dots);
  let delivered = 0;
  for (const message of acknowledged) {
    const row = await store.get(message.id);
    assert.ok(row, "an acknowledged mail is gone");
    assert.equal(row.size, message.bytes.length);
    if (row.deliveries[0]?.state === "done") delivered += 1;
    if (!withDot.has(message.messageIdHeader)) continue;
    const attempts = await store.attempts(`${message.id}.1`);
    assert.ok(attempts.length > 0, "a dot was sent, and is not on record after the cut");
  }
  assert.ok(delivered >= completed, `${completed} were reported as sent, ${delivered} are durable`);
  await store.close();
}

/** A worker goes on after the cut: all is sent, twice only in doubt, and never with `hold`. */
async function goOnAfter({ file, acknowledged, dots }: Cut, t: TestContext): Promise<void> {
  const { expectations, sink, store, worker } = await faultHarness(t, {
    location: { kind: "sqlite", file },
    storeClock: sqliteClock(leaseMs + 1),
  });
  const next = worker({ concurrency: 8 });
  next.start();
  await eventually("every delivery has ended", () => expectations.haveEnded());
  await next.stop();
  const sentAfter = sink.mails.map(({ data }) => messageIdOf(data));
  for (const { id, messageIdHeader, doubt } of acknowledged) {
    const [isBefore, isAfter] = [dots, sentAfter].map((sent) => sent.includes(messageIdHeader));
    const attempts = await store.attempts(`${id}.1`);
    if (isBefore && isAfter) {
      assert.equal(doubt, "resend", "held, and sent twice");
      assert.equal(attempts[0]?.outcome, "in_doubt", "sent twice, and not on record");
    }
    const state = (await store.get(id))?.deliveries[0]?.state;
    // Its intent was on the disk, whether its dot was sent or not.
    const isHeld = doubt === "hold" && state === "in_doubt" && attempts.length === 1;
    assert.ok(isBefore || isAfter || isHeld || attempts[0]?.outcome === "delivered", "lost");
  }
}
