/** One attempt: what a sender that fails, throws, hangs or answers nonsense leaves behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  hourMs,
  mail,
  never,
  ok,
  properSender,
  refusal,
  workerHarness,
} from "../../../test/support/worker-harness.ts";
import type { Deliver, RecipientOutcome } from "../../mail/index.ts";

// W4
test("a reply lost after the dot: `hold` holds the delivery, `resend` retries it", async (t) => {
  const lost: RecipientOutcome = {
    ...refusal(451, "gone", "message"),
    inDoubt: true,
  } as RecipientOutcome;
  const { store, worker, stateOf } = await workerHarness(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    return [lost];
  });
  const held = mail(["b@x.example"], { doubt: "hold" });
  const again = mail(["c@x.example"], { doubt: "resend" });
  await store.enqueue([held, again]);
  const report = await worker.tick();
  assert.equal(report.held, 1);
  assert.equal(report.retry, 1);
  assert.equal((await stateOf(held.id))?.state, "in_doubt");
  assert.equal((await stateOf(again.id))?.state, "pending");
});

test("a sender that throws spends an attempt before its dot, leaves a doubt after it", async (t) => {
  const { store, worker, stateOf } = await workerHarness(
    t,
    async ({ recipients }, _, { beforeCommit }) => {
      if (recipients[0]?.startsWith("late")) await beforeCommit?.();
      throw new Error("broken");
    },
  );
  const late = mail(["late@x.example"], { doubt: "hold" });
  const early = mail(["early@x.example"], { doubt: "hold" });
  await store.enqueue([late, early]);
  await worker.tick();
  assert.equal((await stateOf(late.id))?.state, "in_doubt");
  const row = await stateOf(early.id);
  assert.equal(row?.state, "pending");
  assert.equal(row?.cycleAttempts, 1);
});

test("a sender that never settles is abandoned at its time limit and refused its dot", async (t) => {
  let late: Promise<void> | undefined;
  const harness = await workerHarness(
    t,
    (_, __, { beforeCommit, signal }) => {
      signal.addEventListener("abort", () => {
        harness.clock.setTimeout(() => {
          late = beforeCommit?.();
          late?.catch(() => {});
        }, hourMs);
      });
      return never;
    },
    { sendTimeoutMs: 60_000 },
  );
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  const report = await harness.settled(harness.worker.tick());
  assert.equal(report.retry, 1);
  assert.equal((await harness.stateOf(message.id))?.cycleAttempts, 1);
  await harness.until(() => late !== undefined);
  await assert.rejects(late as Promise<void>, /the attempt is over/);
});

test("a sender that never settles after its dot leaves a doubt", async (t) => {
  const harness = await workerHarness(
    t,
    async (_, __, { beforeCommit }) => {
      await beforeCommit?.();
      return never;
    },
    { sendTimeoutMs: 60_000 },
  );
  const message = mail(["b@x.example"], { doubt: "hold" });
  await harness.store.enqueue([message]);
  assert.equal((await harness.settled(harness.worker.tick())).held, 1);
});

test("malformed outcomes leave a doubt after the dot and spend an attempt before it", async (t) => {
  const harness = await workerHarness(t, async ({ recipients }, _, { beforeCommit }) => {
    if (recipients[0]?.startsWith("late")) await beforeCommit?.();
    return [{ kind: "delivered" }] as unknown as ReturnType<Deliver>;
  });
  const late = mail(["late@x.example"], { doubt: "hold" });
  await harness.store.enqueue([late, mail(["early@x.example"])]);
  const { held, retry } = await harness.worker.tick();
  assert.deepEqual([held, retry], [1, 1]);
});

test("large bodies wait for body memory; small mail overtakes them", async (t) => {
  const large = () =>
    Buffer.concat([Buffer.from("Message-ID: <x@y>\r\n\r\n"), Buffer.alloc(70_000, "x")]);
  const ends: (() => void)[] = [];
  let underWay = 0;
  let max = 0;
  let small = 0;
  const { store, worker, watched } = await workerHarness(
    t,
    async (_, message) => {
      if (message.size < 70_000) {
        small += 1;
        return [ok];
      }
      underWay += 1;
      max = Math.max(max, underWay);
      await new Promise<void>((resolve) => ends.push(resolve));
      underWay -= 1;
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
    await watched.quiet();
  }
  assert.equal((await ticked).sent, 6);
  assert.deepEqual([max, small], [2, 1]);
});

// W1
test("no transaction is open during a send: other connections can write", async (t) => {
  const harness = await workerHarness(t, async (envelope, message, given) => {
    await given.beforeCommit?.();
    // A second connection, which waits for no lock.
    await harness.otherConnection((database) => database.exec("begin immediate; rollback"));
    return properSender(envelope, message, { signal: given.signal });
  });
  await harness.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await harness.worker.tick()).sent, 1);
});
