/** Retries: who gets them, with which bytes, and until when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hourMs, mail, ok, refusal, workerHarness } from "../../../test/support/worker-harness.ts";

// W8
test("a retry goes only to undecided recipients; attempt numbers continue", async (t) => {
  const tries: (readonly string[])[] = [];
  const message = mail(["b@x.example", "c@x.example", "d@x.example"]);
  const { store, worker, clock, stateOf } = await workerHarness(t, async ({ recipients }) => {
    tries.push(recipients);
    return recipients.map((address) =>
      address.startsWith("c") && tries.length === 1
        ? refusal(450, "later")
        : address.startsWith("d")
          ? refusal(550, "no")
          : ok,
    );
  });
  await store.enqueue([message]);
  assert.equal((await worker.tick()).retry, 1);
  assert.equal((await worker.tick()).claimed, 0);
  clock.stepWallTime(hourMs);
  assert.equal((await worker.tick()).dead, 1);
  assert.deepEqual(tries, [["b@x.example", "c@x.example", "d@x.example"], ["c@x.example"]]);
  const row = await stateOf(message.id);
  assert.deepEqual(
    row?.recipients.map(({ status }) => status),
    ["delivered", "delivered", "failed"],
  );
  assert.equal(row?.reason, "permanent: 550 no");
  assert.deepEqual(
    (await store.attempts(row?.id ?? "")).map(({ attemptNo }) => attemptNo),
    [1, 2],
  );
});

// W9
test("every attempt sends the same bytes, Message-ID and Date included", async (t) => {
  const sent: string[] = [];
  const harness = await workerHarness(t, async (_, message) => {
    sent.push(Buffer.from(await message.bytes()).toString("latin1"));
    return [sent.length < 3 ? refusal(451, "later") : ok];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  for (let tries = 0; tries < 3; tries += 1) {
    await harness.worker.tick();
    harness.clock.stepWallTime(4 * hourMs);
  }
  assert.deepEqual(sent, Array(3).fill(Buffer.from(message.bytes).toString("latin1")));
});

test("a redriven mail is sent with the same bytes and the same Message-ID", async (t) => {
  const sent: string[] = [];
  const harness = await workerHarness(t, async (_, message) => {
    sent.push(Buffer.from(await message.bytes()).toString("latin1"));
    return [sent.length < 2 ? refusal(550, "no") : ok];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  await harness.worker.tick();
  await harness.store.redrive(message.id, { recipients: "undelivered", expireAfterMs: hourMs });
  assert.equal((await harness.worker.tick()).sent, 1);
  assert.deepEqual(sent, Array(2).fill(Buffer.from(message.bytes).toString("latin1")));
  assert.equal((await harness.store.get(message.id))?.messageIdHeader, message.messageIdHeader);
});

// W11
test("age ends the retries, not their number: mail survives four days of refusals", async (t) => {
  let isOpen = false;
  const harness = await workerHarness(t, async () => [isOpen ? ok : refusal(451, "greylisted")]);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  for (let hours = 0; hours < 96; hours += 1) {
    await harness.worker.tick();
    harness.clock.stepWallTime(hourMs);
  }
  const row = await harness.stateOf(message.id);
  assert.equal(row?.state, "pending");
  assert.ok((row?.cycleAttempts ?? 0) > 20);
  isOpen = true;
  harness.clock.stepWallTime(3 * hourMs);
  assert.equal((await harness.worker.tick()).sent, 1);
});
