import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import type { Deliver, RecipientOutcome } from "../../mail/index.ts";
import { systemClock } from "../../system/index.ts";
import { openSqliteStore } from "../sqlite/store.ts";
import type { WorkerEvent } from "./events.ts";
import type { WorkerOptions } from "./options.ts";
import { Worker } from "./worker.ts";

async function lab(t: TestContext, send: Deliver, options: Partial<WorkerOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "postbag-worker-"));
  const time = { offsetMs: 0 };
  const clock = { ...systemClock, wallTimeMs: () => systemClock.wallTimeMs() + time.offsetMs };
  const store = await openSqliteStore({ file: join(folder, "outbox.db"), clock });
  const events: WorkerEvent[] = [];
  const worker = new Worker({
    store,
    senderOf: () => send,
    onEvent: (event) => events.push(event),
    random: () => 0.5,
    ...options,
  });
  t.after(async () => {
    await worker.stop({ drainMs: 0 });
    await store.close();
    rmSync(folder, { recursive: true });
  });
  const states = async (id: string) => (await store.get(id))?.deliveries[0];
  return { store, worker, events, time, states };
}

test("a due delivery is sent once, with its intent written before the dot", async (t) => {
  let attemptsAtDot: unknown;
  const sent: unknown[] = [];
  const message = mail(["b@x.example"]);
  const { store, worker, events, states } = await lab(t, async (envelope, _, { beforeCommit }) => {
    await beforeCommit?.();
    attemptsAtDot = (await store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome);
    sent.push(envelope);
    return [ok];
  });
  await store.enqueue([message]);
  assert.equal((await worker.tick()).sent, 1);
  assert.equal((await worker.tick()).claimed, 0);
  assert.deepEqual(sent, [{ reversePath: "a@here.example", recipients: ["b@x.example"] }]);
  assert.deepEqual(attemptsAtDot, [undefined]);
  assert.equal((await states(message.id))?.state, "done");
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["sent"],
  );
});

test("a retry carries only who is undecided, and history goes on", async (t) => {
  const tries: (readonly string[])[] = [];
  const message = mail(["b@x.example", "c@x.example", "d@x.example"]);
  const { store, worker, time, states } = await lab(t, async ({ recipients }) => {
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
  time.offsetMs = 3_600_000;
  assert.equal((await worker.tick()).dead, 1);
  assert.deepEqual(tries, [["b@x.example", "c@x.example", "d@x.example"], ["c@x.example"]]);
  const row = await states(message.id);
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

test("a route that fails costs no attempt; it rests, one delivery tries it, and then all go", async (t) => {
  let open = false;
  const message = mail(["b@x.example"]);
  const { store, worker, events, time, states } = await lab(t, async () =>
    open ? [ok] : [refusal(421, "not now", "route")],
  );
  await store.enqueue([message, mail(["c@x.example"])]);
  await worker.tick();
  assert.equal((await states(message.id))?.cycleAttempts, 0);
  assert.ok(events.some(({ kind }) => kind === "route-blocked"));
  assert.equal((await worker.tick()).sent, 0);
  open = true;
  time.offsetMs = 31_000;
  assert.equal((await worker.tick()).sent, 2);
  const kinds = events.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(-3), ["route-restored", "sent", "sent"]);
});

test("a reply lost after the dot is held where that is asked for, and sent again where not", async (t) => {
  const lost: RecipientOutcome = {
    ...refusal(451, "gone", "message"),
    inDoubt: true,
  } as RecipientOutcome;
  const { store, worker, states } = await lab(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    return [lost];
  });
  const held = mail(["b@x.example"], { doubt: "hold" });
  const again = mail(["c@x.example"], { doubt: "resend" });
  await store.enqueue([held, again]);
  const report = await worker.tick();
  assert.equal(report.held, 1);
  assert.equal(report.retry, 1);
  assert.equal((await states(held.id))?.state, "in_doubt");
  assert.equal((await states(again.id))?.state, "pending");
});

test("a sender that throws after the intent leaves a doubt; one that throws before it, an attempt", async (t) => {
  const { store, worker, states } = await lab(t, async ({ recipients }, _, { beforeCommit }) => {
    if (recipients[0]?.startsWith("late")) await beforeCommit?.();
    throw new Error("broken");
  });
  const late = mail(["late@x.example"], { doubt: "hold" });
  const early = mail(["early@x.example"], { doubt: "hold" });
  await store.enqueue([late, early]);
  await worker.tick();
  assert.equal((await states(late.id))?.state, "in_doubt");
  const row = await states(early.id);
  assert.equal(row?.state, "pending");
  assert.equal(row?.cycleAttempts, 1);
});

test("a lease that was cancelled meanwhile keeps the dot back and spends nothing", async (t) => {
  let dots = 0;
  const message = mail(["b@x.example"]);
  const { store, worker, states } = await lab(t, async (_, __, { beforeCommit }) => {
    assert.deepEqual((await store.cancel(message.id, { notify: false }))[0]?.answer, "cancelled");
    await beforeCommit?.();
    dots += 1;
    return [ok];
  });
  await store.enqueue([message]);
  await worker.tick();
  assert.equal(dots, 0);
  assert.equal((await states(message.id))?.state, "cancelled");
});

test("a started worker sends what is enqueued without waiting for a poll, and stops when told", async (t) => {
  const first = Promise.withResolvers<void>();
  const { store, worker } = await lab(
    t,
    async () => {
      first.resolve();
      return [ok];
    },
    { pollMs: [600_000, 600_000] },
  );
  worker.start();
  await store.enqueue([mail(["b@x.example"])]);
  await first.promise;
  await worker.stop();
  assert.equal(worker.stats().carried.sent, 1);
});

test("a mail that meets an idle worker costs one claim, one intent and one completion", async (t) => {
  const lab = await workerLab(t, async ({ recipients }, _, { beforeCommit }) => {
    await beforeCommit?.();
    return recipients.map(() => ok);
  });
  const calls: unknown[] = [];
  lab.worker.start();
  await lab.until(() => lab.watched.count("claim") > 0);
  for (const lane of ["normal", "bulk", "critical"] as const) {
    lab.watched.onCall = (name, argument) =>
      calls.push(name === "claim" ? (argument as { lane: string }).lane : name);
    await lab.store.enqueue([mail(["b@x.example"], { lane })]);
    await lab.watched.quiet();
    assert.deepEqual(calls.splice(0), [lane, "intend", "complete"]);
  }
  assert.equal(lab.clock.now(), 0, "nobody waited");
  assert.deepEqual(lab.kinds(), ["sent", "sent", "sent"]);
  await lab.settled(lab.worker.stop());
});

test("a poll asks every lane once, however often the worker wakes in between", async (t) => {
  const lab = await workerLab(t, async () => [ok], { pollMs: [50, 1_000] });
  const asked = new Map<string, number>();
  lab.watched.onCall = (name, argument) => {
    if (name !== "claim") return;
    const { lane } = argument as { lane: string };
    asked.set(lane, (asked.get(lane) ?? 0) + 1);
  };
  lab.worker.start();
  await lab.until(() => lab.clock.now() > 10_000);
  await lab.settled(lab.worker.stop());
  for (const lane of ["quarantine", "critical", "normal", "bulk"]) {
    const times = asked.get(lane) ?? 0;
    assert.ok(times >= 8 && times <= 11, `${lane}: ${times} times in 10 s`);
  }
});

test("of large bodies no more are in memory than there is room for, and small mail passes them", async (t) => {
  const large = () =>
    Buffer.concat([Buffer.from("Message-ID: <x@y>\r\n\r\n"), Buffer.alloc(70_000, "x")]);
  const ends: (() => void)[] = [];
  let inHands = 0;
  let most = 0;
  let small = 0;
  const { store, worker } = await lab(
    t,
    async (_, message) => {
      if (message.size < 70_000) {
        small += 1;
        return [ok];
      }
      inHands += 1;
      most = Math.max(most, inHands);
      await new Promise<void>((resolve) => ends.push(resolve));
      inHands -= 1;
      return [ok];
    },
    { bodyMemoryBytes: 150_000, concurrency: 10 },
  );
  const mails = Array.from({ length: 5 }, () => mail(["b@x.example"], { bytes: large() }));
  await store.enqueue([...mails, mail(["c@x.example"])]);
  const ticked = worker.tick();
  for (let left = 5; left > 0; ) {
    const end = ends.shift();
    if (end) left -= 1;
    end?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await ticked).sent, 6);
  assert.deepEqual([most, small], [2, 1]);
});

test("what is urgent goes first, and bulk when nothing else is due", async (t) => {
  const sent: string[] = [];
  const lab = await workerLab(
    t,
    async ({ recipients }) => {
      sent.push(recipients[0] as string);
      return [ok];
    },
    { concurrency: 2, batchSize: 8 },
  );
  for (const lane of ["bulk", "normal", "critical"] as const) {
    await lab.store.enqueue(Array.from({ length: 2 }, () => mail([`${lane}@x.example`], { lane })));
  }
  await lab.worker.tick();
  assert.deepEqual(sent, [
    ...["critical@x.example", "critical@x.example", "normal@x.example", "normal@x.example"],
    ...["bulk@x.example", "bulk@x.example"],
  ]);
});
