/**
 * What small mail workers get wrong, one test for each, showing it gone. Some are shown elsewhere:
 *
 * W4, a crash after the 250 is a silent duplicate: `test/outbox/faults/kill.test.ts`, at each point
 * of a delivery, and "a reply lost after the dot is held …" in `worker.test.ts`
 * W5, told to stop in DATA, it forgets what was sent: "stop after the dot waits for its reply …"
 * and "stop ends, even if a sender does not …" in `worker-faults.test.ts`
 * W7, polling only: "a started worker sends what is enqueued without waiting for a poll …" in
 * `worker.test.ts`
 * W8, every address in To:, one bad recipient fails all: "Bcc is in the envelope and nowhere in the
 * bytes" in `../compose/compose.test.ts`, "a retry carries only who is undecided …" in
 * `worker.test.ts`
 * W10, what a hook was to hear is lost in a crash: "a process that ends between hook and record
 * makes the hook run again" in `test/outbox/hooks.test.ts`, and `test/outbox/faults/hooks.test.ts`
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { byRoute, mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import type { Deliver } from "../../mail/index.ts";

const hour = 3_600_000;
const proper: Deliver = async ({ recipients }, _, { beforeCommit }) => {
  await beforeCommit?.();
  return recipients.map(() => ok);
};

test("W1: no transaction is open while a mail server is talked to: others write meanwhile", async (t) => {
  const lab = await workerLab(t, async (envelope, message, given) => {
    await given.beforeCommit?.();
    // A second connection that waits for nobody.
    await lab.otherConnection((database) => database.exec("begin immediate; rollback"));
    return proper(envelope, message, { signal: given.signal });
  });
  await lab.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await lab.worker.tick()).sent, 1);
});

test("W2: a reply that no database takes as it is does not undo what was sent", async (t) => {
  const lab = await workerLab(t, async () => [refusal(550, "no\0 \ud800 \r\n such user")]);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.worker.tick()).dead, 1);
  assert.match((await lab.stateOf(message.id))?.reason ?? "", /^permanent: 550 no .* such user$/);
});

test("W3: one delivery whose outcome the store never takes holds up no other, and is not sent again", async (t) => {
  const sent: string[] = [];
  const lab = await workerLab(t, async (envelope, message, given) => {
    sent.push(...envelope.recipients);
    return proper(envelope, message, given);
  });
  lab.watched.onCall = (name, argument) => {
    if (name !== "complete") return;
    const [completion] = argument as [{ delivery: number }];
    if (completion.delivery === poison) throw new Error("cannot be written");
  };
  const poison = await lab.deliveryKey(mail(["poison@x.example"]));
  await lab.store.enqueue(Array.from({ length: 20 }, (_, n) => mail([`b${n}@x.example`])));
  lab.worker.start();
  await lab.until(() => lab.worker.stats().carried.sent === 20);
  await lab.until(() => lab.clock.now() > 5 * 60_000);
  assert.equal(sent.filter((address) => address.startsWith("poison")).length, 1);
  await lab.settled(lab.worker.stop({ drainMs: 0 }));
});

test("W3: a delivery that no worker survives ends in quarantine, alone, and then as poison", async (t) => {
  const lab = await workerLab(t, proper);
  const poison = mail(["poison@x.example"]);
  await lab.store.enqueue([poison]);
  const dies = { inlineBytes: 1, leaseMs: 60_000, worker: "w", intents: true, routeRoom: 9 };
  for (let crashes = 0; crashes < 5; crashes += 1) {
    for (const lane of ["normal", "quarantine"] as const) {
      await lab.store.claim({ ...dies, lane, limit: 1, putOffMs: 1 });
    }
    lab.clock.stepWallTime(61_000);
  }
  const good = mail(["b@x.example"]);
  await lab.store.enqueue([good]);
  const report = await lab.worker.tick();
  assert.deepEqual([report.sent, report.dead], [1, 1]);
  const row = await lab.stateOf(poison.id);
  assert.equal(row?.state, "dead");
  assert.match(row?.reason ?? "", /^poison: /);
});

test("W3: quarantine is worked off under a full load of other mail, one at a time", async (t) => {
  let alone = 0;
  const lab = await workerLab(
    t,
    async ({ recipients }) => {
      const isSuspect = recipients[0]?.startsWith("suspect");
      if (isSuspect) alone += 1;
      assert.ok(alone <= 1);
      await new Promise((resolve) => setImmediate(resolve));
      if (isSuspect) alone -= 1;
      return [ok];
    },
    { concurrency: 4, batchSize: 4 },
  );
  const suspects = Array.from({ length: 3 }, () => mail(["suspect@x.example"]));
  await lab.store.enqueue(suspects);
  const { deliveries } = await lab.store.claim({
    ...{ lane: "normal", limit: 3, leaseMs: 60_000, worker: "w", inlineBytes: 1 },
    ...{ intents: true, routeRoom: 9, putOffMs: 1 },
  });
  await lab.store.release(
    deliveries.map(({ delivery, token }) => {
      return { delivery, token, delayMs: 0, lane: "quarantine" as const };
    }),
  );
  await lab.store.enqueue(Array.from({ length: 40 }, () => mail(["b@x.example"])));
  for (let ticks = 0; ticks < 3; ticks += 1) await lab.worker.tick();
  for (const { id } of suspects) assert.equal((await lab.stateOf(id))?.state, "done");
});

test("W6: many are sent at a time, and never more are held than that, however many are due", async (t) => {
  let underWay = 0;
  let most = 0;
  const leases: number[] = [];
  const lab = await workerLab(
    t,
    async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 10));
      underWay -= 1;
      return [ok];
    },
    { concurrency: 50, batchSize: 20 },
  );
  lab.watched.onCall = () => leases.push(lab.worker.stats().inFlight);
  await lab.store.enqueue(Array.from({ length: 1_000 }, () => mail(["b@x.example"])));
  lab.worker.start();
  await lab.until(() => lab.worker.stats().carried.sent === 1_000);
  await lab.settled(lab.worker.stop());
  assert.ok(most > 20 && most <= 50, `${most} at a time`);
  assert.ok(Math.max(...leases) <= 50);
});

test("W9: every attempt sends the same bytes, Message-ID and Date with them", async (t) => {
  const sent: string[] = [];
  const lab = await workerLab(t, async (_, message) => {
    sent.push(Buffer.from(await message.bytes()).toString("latin1"));
    return [sent.length < 3 ? refusal(451, "later") : ok];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  for (let tries = 0; tries < 3; tries += 1) {
    await lab.worker.tick();
    lab.clock.stepWallTime(4 * hour);
  }
  assert.deepEqual(sent, Array(3).fill(Buffer.from(message.bytes).toString("latin1")));
});

test("W11: age ends the tries, not their number: four days of refusals are survived", async (t) => {
  let isOpen = false;
  const lab = await workerLab(t, async () => [isOpen ? ok : refusal(451, "greylisted")]);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  for (let hours = 0; hours < 96; hours += 1) {
    await lab.worker.tick();
    lab.clock.stepWallTime(hour);
  }
  const row = await lab.stateOf(message.id);
  assert.equal(row?.state, "pending");
  assert.ok((row?.cycleAttempts ?? 0) > 20);
  isOpen = true;
  lab.clock.stepWallTime(3 * hour);
  assert.equal((await lab.worker.tick()).sent, 1);
});

test("W12: a relay that is down for days spends nobody's attempts, and is tried by one at a time", async (t) => {
  let isOpen = false;
  let tries = 0;
  const lab = await workerLab(
    t,
    async () => {
      tries += 1;
      return [isOpen ? ok : refusal(421, "down", "route")];
    },
    { maxAttempts: 2 },
  );
  const messages = Array.from({ length: 30 }, () => mail(["b@x.example"]));
  await lab.store.enqueue(messages);
  await lab.worker.tick();
  const atFirst = tries;
  for (let hours = 0; hours < 48; hours += 1) {
    lab.clock.stepWallTime(hour);
    await lab.worker.tick();
  }
  assert.equal(tries - atFirst, 48, "one probe an hour");
  for (const { id } of messages) {
    const row = await lab.stateOf(id);
    assert.deepEqual([row?.state, row?.cycleAttempts], ["pending", 0]);
  }
  isOpen = true;
  lab.clock.stepWallTime(hour);
  assert.equal((await lab.worker.tick()).sent, 30);
});

test("W12: a backlog on a route that is down does not hide mail on one that works", async (t) => {
  const lab = await workerLab(t, async ({ recipients }) =>
    recipients[0]?.startsWith("down") ? [refusal(421, "down", "route")] : [ok],
  );
  const down = () => mail([], { deliveries: [byRoute("down", "down@x.example")] });
  await lab.store.enqueue(Array.from({ length: 5_000 }, down));
  await lab.store.enqueue([mail(["b@x.example"])]);
  lab.worker.start();
  await lab.until(() => lab.kinds().includes("sent"));
  assert.ok(lab.clock.now() < 1_000, `took ${lab.clock.now()} ms`);
  assert.ok(lab.watched.count("claim") < 60, `${lab.watched.count("claim")} claims`);
  await lab.settled(lab.worker.stop());
});

test("W12: a route whose oldest mail has expired is tried as soon as it may be", async (t) => {
  let isOpen = false;
  const lab = await workerLab(t, async () => [isOpen ? ok : refusal(421, "down", "route")]);
  const old = Array.from({ length: 5 }, () => mail(["old@x.example"], { expireAfterMs: hour }));
  await lab.store.enqueue([...old, mail(["b@x.example"])]);
  await lab.worker.tick();
  lab.clock.stepWallTime(2 * hour);
  isOpen = true;
  const report = await lab.worker.tick();
  assert.deepEqual([report.dead, report.sent], [5, 1]);
});

test("W12: a probe whose worker vanished is followed by another within its lease", async (t) => {
  const lab = await workerLab(t, async () => [refusal(421, "down", "route")]);
  await lab.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  await lab.worker.tick();
  lab.clock.stepWallTime(hour);
  const { deliveries } = await lab.store.claim({
    ...{ lane: "normal", limit: 1, leaseMs: 60_000, worker: "gone", inlineBytes: 1 },
    ...{ intents: true, routeRoom: 9, putOffMs: 1 },
  });
  assert.equal(deliveries[0]?.isProbe, true);
  const open = lab.make({ senderOf: () => proper });
  assert.equal((await open.tick()).claimed, 0);
  lab.clock.stepWallTime(60_001);
  assert.equal((await open.tick()).sent, 2);
});

test("W12: one slow domain takes no more than its share of what is sent at a time", async (t) => {
  let slow = 0;
  const lab = await workerLab(
    t,
    async ({ recipients }) => {
      if (!recipients[0]?.startsWith("slow")) return [ok];
      slow += 1;
      await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, hour));
      return [ok];
    },
    { concurrency: 10, routeConcurrency: 3, sendTimeoutMs: 2 * hour },
  );
  const slowMail = () => mail([], { deliveries: [byRoute("slow", "slow@x.example")] });
  await lab.store.enqueue(Array.from({ length: 200 }, slowMail));
  await lab.store.enqueue(Array.from({ length: 50 }, () => mail(["b@x.example"])));
  lab.worker.start();
  await lab.until(() => lab.worker.stats().carried.sent === 50);
  assert.equal(slow, 3);
  assert.ok(lab.clock.now() < 60_000);
  await lab.settled(lab.worker.stop({ drainMs: 0 }));
});
