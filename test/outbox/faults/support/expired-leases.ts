/**
 * Tests of leases that run out while their owner is stopped or killed, registered on one store.
 * `POSTBAG_FAULT_ROUNDS=20` kills twenty times as often.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { SeededRandom } from "../../../support/seeded-random.ts";
import { eventually, faultHarness, killed, rounds, shortLeaseMs } from "./fault-harness.ts";
import { newMessage, newMessages } from "./outbox-expectations.ts";
import type { StoreKind } from "./stores.ts";

/** Registers these tests on one store. */
export function testExpiredLeases({ newLocation, clockOf }: StoreKind): void {
  test("a worker stopped before its intent for longer than its lease sends no dot", async (t) => {
    let stopped: ChildProcess | undefined;
    const harness = await faultHarness(t, {
      location: await newLocation(t),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "MAIL" && nth === 1) stopped?.kill("SIGSTOP");
          return undefined;
        },
      },
    });
    const { expectations, sink } = harness;
    stopped = await harness.spawn({ leaseMs: shortLeaseMs });
    await expectations.enqueue(newMessage({ doubt: "hold" }), newMessage());
    await eventually("the first process is stopped", () =>
      sink.lines.some((line) => line.startsWith("MAIL")),
    );
    harness.worker().start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    const ended = once(stopped, "exit");
    stopped.kill("SIGCONT");
    stopped.stdin?.end();
    await ended;
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt], [0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ["delivered", "delivered"],
    );
  });

  for (const doubt of ["hold", "resend"] as const) {
    const end = doubt === "hold" ? "held, then delivered" : "sent twice, and on record";
    test(`a worker stopped after its dot for longer than its lease: ${end}`, async (t) => {
      let stopped: ChildProcess | undefined;
      const harness = await faultHarness(t, {
        location: await newLocation(t),
        sink: {
          answer: ({ verb, nth }) => {
            if (verb === "dot" && nth === 1) stopped?.kill("SIGSTOP");
            return undefined;
          },
        },
      });
      const { expectations, sink, store } = harness;
      stopped = await harness.spawn({ leaseMs: shortLeaseMs });
      const message = newMessage({ doubt });
      await expectations.enqueue(message);
      await eventually("the first process is stopped", () => sink.mails.length === 1);
      harness.worker().start();
      await eventually("the other worker has ended it", () => expectations.haveEnded());
      const stateOf = async () => (await store.get(message.id))?.deliveries[0]?.state;
      assert.equal(await stateOf(), doubt === "hold" ? "in_doubt" : "done");
      stopped.kill("SIGCONT");
      await eventually("the late reply is on record", async () => {
        const attempts = await store.attempts(`${message.id}.1`);
        return attempts[0]?.outcome === "delivered";
      });
      assert.equal(await stateOf(), "done");
      const found = await expectations.check();
      assert.equal(found.duplicates, doubt === "hold" ? 0 : 2);
    });
  }

  test("two worker processes on one store send each message once", async (t) => {
    const names = new Set<string>();
    const bothSend = Promise.withResolvers<void>();
    const harness = await faultHarness(t, {
      location: await newLocation(t),
      sink: {
        answer: ({ verb, line }) => {
          if (verb === "EHLO") names.add(line);
          if (names.size === 2) bothSend.resolve();
          return verb === "dot" ? { reply: "250 2.0.0 Taken", after: bothSend.promise } : undefined;
        },
      },
    });
    const { expectations } = harness;
    await expectations.enqueue(...newMessages(20));
    await Promise.all([harness.spawn({ concurrency: 4 }), harness.spawn({ concurrency: 4 })]);
    await expectations.enqueue(...newMessages(20));
    await eventually("every delivery has ended", () => expectations.haveEnded());
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.equal(attempts.length, 40);
    assert.equal(new Set(attempts.map(({ worker }) => worker)).size, 2, "both took part");
  });

  test("killed processes lose no mail, and every sent copy has an attempt in the store", async (t) => {
    const random = new SeededRandom(7);
    let child: ChildProcess | undefined;
    let steps = 0;
    const location = await newLocation(t);
    const harness = await faultHarness(t, {
      location,
      storeClock: clockOf(location),
      sink: {
        answer: () => {
          steps -= 1;
          if (steps <= 0) child?.kill("SIGKILL");
          return undefined;
        },
      },
    });
    const { expectations } = harness;
    for (let lives = 0; lives < 3 * rounds; lives += 1) {
      await expectations.enqueue(...newMessages(12));
      steps = 10 + random.below(50);
      child = await harness.spawn({ concurrency: 4 });
      await killed(child);
      child = undefined;
      await harness.expireLeases();
    }
    harness.worker().start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await expectations.check();
  });
}
