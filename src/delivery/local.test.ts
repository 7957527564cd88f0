import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Envelope,
  type Message,
  messageFromBytes,
  type RecipientOutcome,
} from "../mail/index.ts";
import { type Delivery, MaildirError } from "../maildir/index.ts";
import { DeliveryExecutor, type Disk, type LocalDeliveryEvent, localDelivery } from "./index.ts";

const signal = new AbortController().signal;

function messageOf(text: string): Message {
  const bytes = new TextEncoder().encode(text);
  return messageFromBytes(bytes);
}

/** A disk that keeps deliveries in a list and fails the mailboxes it is told to fail. */
function listDisk(failing: Record<string, string> = {}): Disk & { readonly kept: Delivery[] } {
  const kept: Delivery[] = [];
  return {
    kept,
    async commit(deliveries) {
      return deliveries.map((delivery) => {
        const code = failing[delivery.maildir];
        if (code !== undefined) {
          const cause = Object.assign(new Error(code), { code });
          const error = new MaildirError("ERR_MAILDIR_WRITE_FAILED", "no", { cause });
          return { ok: false, error };
        }
        kept.push(delivery);
        return { ok: true, id: `id${kept.length}` };
      });
    },
    async close() {},
  };
}

const to = (...recipients: string[]): Envelope => ({ reversePath: "from@example.org", recipients });
const textOf = (delivery: Delivery | undefined) =>
  Buffer.from(delivery?.body as Uint8Array).toString();
const summary = (outcomes: readonly RecipientOutcome[]) =>
  outcomes.map(({ kind, reply }) => `${kind} ${reply.code} ${reply.enhanced}`);

test("each recipient's copy has its own Return-Path and Delivered-To on top", async () => {
  const disk = listDisk();
  await using executor = await DeliveryExecutor.open({ disk });
  const deliver = localDelivery(executor, (recipient) => `/mail/${recipient}`);
  const outcomes = await deliver(to("a@x", "b@x"), messageOf("Subject: s\n\nhi\n"), { signal });
  assert.deepEqual(summary(outcomes), ["delivered 250 2.0.0", "delivered 250 2.0.0"]);
  assert.deepEqual(disk.kept.map(textOf), [
    "Return-Path: <from@example.org>\nDelivered-To: a@x\nSubject: s\n\nhi\n",
    "Return-Path: <from@example.org>\nDelivered-To: b@x\nSubject: s\n\nhi\n",
  ]);
});

test("one recipient's failure leaves the others as they are, in order", async () => {
  const disk = listDisk({ "/mail/full@x": "ENOSPC", "/mail/over@x": "EDQUOT" });
  await using executor = await DeliveryExecutor.open({ disk });
  const deliver = localDelivery(executor, (recipient) =>
    recipient === "nobody@x"
      ? { code: 550, enhanced: "5.1.1", text: "No such mailbox", phase: "rcpt" }
      : `/mail/${recipient}`,
  );
  const recipients = to("a@x", "full@x", "nobody@x", "over@x", "b@x");
  assert.deepEqual(summary(await deliver(recipients, messageOf("x\n"), { signal })), [
    "delivered 250 2.0.0",
    "deferred 452 4.3.1",
    "failed 550 5.1.1",
    "deferred 452 4.2.2",
    "delivered 250 2.0.0",
  ]);
});

test("every fault of the disk is temporary for the sender", async () => {
  for (const code of ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "EACCES", "ELOOP"]) {
    const disk = listDisk({ "/mail/a@x": code });
    await using executor = await DeliveryExecutor.open({ disk });
    const deliver = localDelivery(executor, (recipient) => `/mail/${recipient}`);
    const [outcome] = await deliver(to("a@x"), messageOf("x\n"), { signal });
    assert.equal(outcome?.kind, "deferred", code);
    assert.ok(outcome.reply.code >= 451 && outcome.reply.code <= 452, code);
    assert.match(outcome.reply.enhanced ?? "", /^4\./, code);
  }
});

test("two addresses of one mailbox are delivered once and answered twice", async () => {
  const disk = listDisk();
  await using executor = await DeliveryExecutor.open({ disk });
  const deliver = localDelivery(executor, (recipient) => `/mail/${recipient.toLowerCase()}`);
  const outcomes = await deliver(to("Bob@x", "bob@X"), messageOf("x\n"), { signal });
  assert.equal(outcomes.length, 2);
  assert.equal(disk.kept.length, 1);
});

test("who is not admitted before the signal aborts is asked to come again", async () => {
  const gate = Promise.withResolvers<void>();
  const disk = listDisk();
  const slow: Disk = {
    ...disk,
    commit: (deliveries) => gate.promise.then(() => disk.commit(deliveries)),
  };
  await using executor = await DeliveryExecutor.open({
    disk: slow,
    maxBatch: 1,
    maxPending: 1,
    maxConcurrentFlushes: 1,
  });
  const deliver = localDelivery(executor, () => "/mail/a");
  const first = deliver(to("a@x"), messageOf("1\n"), { signal });
  const patience = new AbortController();
  const second = deliver(to("a@x"), messageOf("2\n"), { signal: patience.signal });
  patience.abort();
  assert.deepEqual(summary(await second), ["deferred 452 4.3.1"]);
  gate.resolve();
  assert.deepEqual(summary(await first), ["delivered 250 2.0.0"]);
  assert.equal(disk.kept.length, 1);
});

test("nothing is delivered when the last check before the commit rejects", async () => {
  const disk = listDisk();
  await using executor = await DeliveryExecutor.open({ disk });
  const deliver = localDelivery(executor, () => "/mail/a");
  const beforeCommit = () => Promise.reject(new Error("lease lost"));
  await assert.rejects(
    deliver(to("a@x"), messageOf("x\n"), { signal, beforeCommit }),
    /lease lost/,
  );
  assert.equal(disk.kept.length, 0);
});

test("events name the recipient, the mailbox, the size and the company", async () => {
  const disk = listDisk({ "/mail/b@x": "EIO" });
  await using executor = await DeliveryExecutor.open({ disk });
  const events: LocalDeliveryEvent[] = [];
  const deliver = localDelivery(executor, (recipient) => `/mail/${recipient}`, {
    lineEndings: "crlf",
    onEvent: (event) => events.push(event),
  });
  const [outcome] = await deliver(to("a@x", "b@x"), messageOf("x\r\n"), { signal });
  const [good, bad] = events;
  assert.ok(good?.kind === "delivered");
  const { durableMs, ...copy } = good.copy;
  assert.deepEqual(copy, { mailbox: "/mail/a@x", id: "id1", batchSize: 2 });
  assert.ok(durableMs >= 0);
  assert.equal(good.size, "Return-Path: <from@example.org>\r\nDelivered-To: a@x\r\nx\r\n".length);
  assert.ok(outcome?.kind === "delivered");
  assert.equal(outcome.copy, good.copy);
  assert.ok(bad?.kind === "deferred");
  assert.equal(bad.recipient, "b@x");
});
