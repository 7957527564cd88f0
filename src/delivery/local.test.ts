/** Local delivery over an executor with a committer of the test: outcomes, headers, events. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Envelope,
  type Message,
  messageFromBytes,
  type RecipientOutcome,
} from "../mail/index.ts";
import { type Delivery, MaildirError } from "../maildir/index.ts";
import {
  type Committer,
  DeliveryExecutor,
  type LocalDeliveryEvent,
  localDelivery,
} from "./index.ts";

const signal = new AbortController().signal;

function messageOf(text: string): Message {
  const bytes = new TextEncoder().encode(text);
  return messageFromBytes(bytes);
}

/** A committer that stores deliveries in a list and fails the given mailboxes with an errno. */
function listCommitter(
  failing: Record<string, string> = {},
): Committer & { readonly stored: Delivery[] } {
  const stored: Delivery[] = [];
  return {
    stored,
    async commit(deliveries) {
      return deliveries.map((delivery) => {
        const code = failing[delivery.maildir];
        if (code !== undefined) {
          const cause = Object.assign(new Error(code), { code });
          const error = new MaildirError("ERR_MAILDIR_WRITE_FAILED", "no", { cause });
          return { ok: false, error };
        }
        stored.push(delivery);
        return { ok: true, id: `id${stored.length}` };
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

test("each recipient's copy starts with its own Return-Path and Delivered-To", async () => {
  const committer = listCommitter();
  await using executor = await DeliveryExecutor.open({ committer });
  const deliver = localDelivery(executor, (recipient) => `/mail/${recipient}`);
  const outcomes = await deliver(to("a@x", "b@x"), messageOf("Subject: s\n\nhi\n"), { signal });
  assert.deepEqual(summary(outcomes), ["delivered 250 2.0.0", "delivered 250 2.0.0"]);
  assert.deepEqual(committer.stored.map(textOf), [
    "Return-Path: <from@example.org>\nDelivered-To: a@x\nSubject: s\n\nhi\n",
    "Return-Path: <from@example.org>\nDelivered-To: b@x\nSubject: s\n\nhi\n",
  ]);
});

test("one recipient's failure changes no other outcome, and outcomes keep their order", async () => {
  const committer = listCommitter({ "/mail/full@x": "ENOSPC", "/mail/over@x": "EDQUOT" });
  await using executor = await DeliveryExecutor.open({ committer });
  const deliver = localDelivery(executor, (recipient) =>
    recipient === "unknown@x"
      ? { code: 550, enhanced: "5.1.1", text: "No such mailbox", phase: "rcpt" }
      : `/mail/${recipient}`,
  );
  const recipients = to("a@x", "full@x", "unknown@x", "over@x", "b@x");
  assert.deepEqual(summary(await deliver(recipients, messageOf("x\n"), { signal })), [
    "delivered 250 2.0.0",
    "deferred 452 4.3.1",
    "failed 550 5.1.1",
    "deferred 452 4.2.2",
    "delivered 250 2.0.0",
  ]);
});

test("every storage errno is a temporary failure for the sender", async () => {
  for (const code of ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "EACCES", "ELOOP"]) {
    const committer = listCommitter({ "/mail/a@x": code });
    await using executor = await DeliveryExecutor.open({ committer });
    const deliver = localDelivery(executor, (recipient) => `/mail/${recipient}`);
    const [outcome] = await deliver(to("a@x"), messageOf("x\n"), { signal });
    assert.equal(outcome?.kind, "deferred", code);
    assert.ok(outcome.reply.code >= 451 && outcome.reply.code <= 452, code);
    assert.match(outcome.reply.enhanced ?? "", /^4\./, code);
  }
});

test("two addresses of one mailbox get one copy and two outcomes", async () => {
  const committer = listCommitter();
  await using executor = await DeliveryExecutor.open({ committer });
  const deliver = localDelivery(executor, (recipient) => `/mail/${recipient.toLowerCase()}`);
  const outcomes = await deliver(to("Bob@x", "bob@X"), messageOf("x\n"), { signal });
  assert.equal(outcomes.length, 2);
  assert.equal(committer.stored.length, 1);
});

test("a message not admitted before the signal aborts is deferred with 452", async () => {
  const gate = Promise.withResolvers<void>();
  const committer = listCommitter();
  const slow: Committer = {
    ...committer,
    commit: (deliveries) => gate.promise.then(() => committer.commit(deliveries)),
  };
  await using executor = await DeliveryExecutor.open({
    committer: slow,
    maxBatch: 1,
    maxPending: 1,
    maxConcurrentFlushes: 1,
  });
  const deliver = localDelivery(executor, () => "/mail/a");
  const first = deliver(to("a@x"), messageOf("1\n"), { signal });
  const abort = new AbortController();
  const second = deliver(to("a@x"), messageOf("2\n"), { signal: abort.signal });
  abort.abort();
  assert.deepEqual(summary(await second), ["deferred 452 4.3.1"]);
  gate.resolve();
  assert.deepEqual(summary(await first), ["delivered 250 2.0.0"]);
  assert.equal(committer.stored.length, 1);
});

test("no copy is stored when beforeCommit rejects", async () => {
  const committer = listCommitter();
  await using executor = await DeliveryExecutor.open({ committer });
  const deliver = localDelivery(executor, () => "/mail/a");
  const beforeCommit = () => Promise.reject(new Error("lease lost"));
  await assert.rejects(
    deliver(to("a@x"), messageOf("x\n"), { signal, beforeCommit }),
    /lease lost/,
  );
  assert.equal(committer.stored.length, 0);
});

test("events have recipient, mailbox, size and batch size", async () => {
  const committer = listCommitter({ "/mail/b@x": "EIO" });
  await using executor = await DeliveryExecutor.open({ committer });
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
