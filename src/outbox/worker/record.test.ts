/**
 * Outcomes and releases while the store fails: each is written in the end, and sent mail is never
 * lost.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { steal } from "../../../test/support/lease-harness.ts";
import {
  mail,
  ok,
  properSender,
  refusal,
  workerHarness,
} from "../../../test/support/worker-harness.ts";

for (const call of ["claim", "renew", "intend", "complete", "body"] as const) {
  for (const when of ["before", "after"] as const) {
    test(`the store fails three times ${when} ${call}: sent once, in one attempt`, async (t) => {
      let dots = 0;
      const harness = await workerHarness(
        t,
        async (envelope, message, given) => {
          // Long enough for the heartbeat.
          await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 70_000));
          const outcomes = await properSender(envelope, message, given);
          dots += 1;
          return outcomes;
        },
        { inlineBytes: 1 },
      );
      const message = mail(["b@x.example"]);
      await harness.store.enqueue([message]);
      harness.watched.fail(call, 3, when);
      harness.worker.start();
      await harness.until(() => harness.kinds().includes("sent"));
      await harness.settled(harness.worker.stop());
      assert.equal(dots, 1);
      const row = await harness.stateOf(message.id);
      assert.deepEqual([row?.state, row?.cycleAttempts], ["done", 1]);
      assert.ok(harness.kinds().includes("store-failed"));
    });
  }
}

test("a release that fails is repeated until it succeeds and counts as no crash", async (t) => {
  let isOpen = false;
  const harness = await workerHarness(t, async () => [isOpen ? ok : refusal(421, "busy", "route")]);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.watched.fail("release", 12);
  harness.worker.start();
  await harness.until(() => harness.watched.count("release") > 12);
  isOpen = true;
  await harness.until(() => harness.kinds().includes("sent"));
  await harness.settled(harness.worker.stop());
  const row = await harness.stateOf(message.id);
  assert.deepEqual([row?.state, row?.attempts, row?.cycleAttempts], ["done", 1, 1]);
});

// W3
test("mail whose outcome is never stored delays no other mail and is not resent", async (t) => {
  const sent: string[] = [];
  const harness = await workerHarness(t, async (envelope, message, given) => {
    sent.push(...envelope.recipients);
    return properSender(envelope, message, given);
  });
  harness.watched.onCall = (name, argument) => {
    if (name !== "complete") return;
    const [completion] = argument as [{ delivery: number }];
    if (completion.delivery === poison) throw new Error("cannot be written");
  };
  const poison = await harness.deliveryKey(mail(["poison@x.example"]));
  await harness.store.enqueue(Array.from({ length: 20 }, (_, n) => mail([`b${n}@x.example`])));
  harness.worker.start();
  await harness.until(() => harness.worker.stats().carried.sent === 20);
  await harness.until(() => harness.clock.now() > 5 * 60_000);
  assert.equal(sent.filter((address) => address.startsWith("poison")).length, 1);
  await harness.settled(harness.worker.stop({ drainMs: 0 }));
});

// W2
test("a reply with characters that no database accepts is stored without them", async (t) => {
  const harness = await workerHarness(t, async () => [refusal(550, "no\0 \ud800 \r\n such user")]);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.worker.tick()).dead, 1);
  assert.match(
    (await harness.stateOf(message.id))?.reason ?? "",
    /^permanent: 550 no .* such user$/,
  );
});

test("mail sent under a lease that is lost during the send is recorded as delivered", async (t) => {
  const harness = await workerHarness(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    await steal(harness);
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.worker.tick()).lost, 1);
  assert.deepEqual(harness.events, [
    { kind: "lease-lost", deliveryId: `${message.id}.1`, delivered: true },
  ]);
  assert.equal((await harness.stateOf(message.id))?.state, "done");
});
