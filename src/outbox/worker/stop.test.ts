/** Stop: deliveries in flight end or are released, and a worker can be started again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  hourMs,
  mail,
  never,
  ok,
  properSender,
  workerHarness,
} from "../../../test/support/worker-harness.ts";

// W5
test("stop abandons a stuck sender: released before its dot, in doubt after it", async (t) => {
  const harness = await workerHarness(t, async ({ recipients }, _, { beforeCommit }) => {
    if (recipients[0]?.startsWith("dot")) await beforeCommit?.();
    return never;
  });
  const [before, after] = [mail(["b@x.example"]), mail(["dot@x.example"], { doubt: "hold" })];
  await harness.store.enqueue([before, after]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 2);
  assert.deepEqual(await harness.settled(harness.worker.stop({ drainMs: 5_000 })), { left: 1 });
  const row = await harness.stateOf(before.id);
  assert.deepEqual([row?.isLeased, row?.cycleAttempts], [false, 0]);
  harness.clock.stepWallTime(hourMs);
  const next = harness.make({ senderOf: () => properSender });
  assert.equal((await next.tick()).held, 1);
  assert.equal((await harness.stateOf(after.id))?.state, "in_doubt");
});

// W5
test("stop waits for the reply to a dot and records the delivery as sent", async (t) => {
  const harness = await workerHarness(t, async (_, __, { beforeCommit, signal }) => {
    await beforeCommit?.();
    await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 12_000));
    assert.ok(signal.aborted, "its signal aborted before");
    return [ok];
  });
  const message = mail(["b@x.example"], { doubt: "hold" });
  await harness.store.enqueue([message]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 1);
  const stopped = harness.worker.stop({ drainMs: 5_000, replyMs: 10_000 });
  assert.deepEqual(await harness.settled(stopped), { left: 0 });
  assert.equal((await harness.stateOf(message.id))?.state, "done");
  assert.deepEqual(
    (await harness.store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("a worker stopped during a claim releases the deliveries of that claim", async (t) => {
  let sends = 0;
  const harness = await workerHarness(t, async () => {
    sends += 1;
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  let stopped: Promise<unknown> | undefined;
  harness.watched.onCall = (name, argument) => {
    if (name !== "claim" || (argument as { lane: string }).lane !== "normal") return;
    stopped ??= harness.worker.stop();
  };
  harness.worker.start();
  await harness.until(() => stopped !== undefined);
  await harness.settled(stopped as Promise<unknown>);
  assert.equal(sends, 0);
  const row = await harness.stateOf(message.id);
  assert.deepEqual([row?.state, row?.isLeased, row?.attempts], ["pending", false, 0]);
});

test("a worker can be started again after a stop that aborted its sends", async (t) => {
  let isStuck = true;
  const harness = await workerHarness(t, async (envelope, message, given) => {
    if (!isStuck) return properSender(envelope, message, given);
    await new Promise((_, reject) => {
      given.signal.addEventListener("abort", () => reject(given.signal.reason));
    });
    return [];
  });
  await harness.store.enqueue([mail(["b@x.example"])]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 1);
  await harness.settled(harness.worker.stop({ drainMs: 0 }));
  isStuck = false;
  harness.watched.fail("complete", 2);
  harness.worker.start();
  await harness.until(() => harness.kinds().includes("sent"));
  await harness.settled(harness.worker.stop());
});

test("a send aborted by stop is released without delay, even after a restart", async (t) => {
  const end = Promise.withResolvers<never>();
  const harness = await workerHarness(t, () => end.promise);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 1);
  assert.deepEqual(await harness.settled(harness.worker.stop({ drainMs: 0, replyMs: 1 })), {
    left: 1,
  });
  const releases: unknown[] = [];
  harness.watched.onCall = (name, argument) => {
    if (name === "release") releases.push(...(argument as unknown[]));
  };
  harness.worker.start();
  end.reject(new Error("broken off"));
  await harness.until(() => releases.length > 0);
  assert.equal((releases[0] as { delayMs: number }).delayMs, 0);
  await harness.settled(harness.worker.stop({ drainMs: 0 }));
});
