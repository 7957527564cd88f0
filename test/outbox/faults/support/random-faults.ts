/**
 * Every fault at once, by a seed: an application that enqueues and cancels, worker processes that
 * are killed and replaced, a server that drops, refuses and defers, a purge that never pauses.
 *
 * `POSTBAG_FAULT_ROUNDS=20` makes it twenty times longer, `POSTBAG_FAULT_SEED=7` another sequence.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { test } from "node:test";
import type { NewMessage } from "../../../../src/outbox/index.ts";
import { SeededRandom } from "../../../support/seeded-random.ts";
import type { SinkAnswer } from "../../../support/smtp-sink.ts";
import { eventually, faultHarness, killed, rounds } from "./fault-harness.ts";
import { newMessage, newMessages } from "./outbox-expectations.ts";
import type { StoreKind } from "./stores.ts";

const seed = Number(process.env.POSTBAG_FAULT_SEED ?? 1);

/** Keeps the rows, which the expectations read; only bytes are purged. */
const rowsStay = { rowsAfterMs: 1e12, deadAfterMs: 1e12, eventsAfterMs: 1e12 };

/** What the server does at one step in twelve. */
const faults: readonly ((verb: string) => SinkAnswer)[] = [
  () => ({ drop: true }),
  () => ({ reply: "421 4.3.2 Closing", drop: true }),
  () => "451 4.3.0 Later",
  (verb) => (verb === "RCPT" ? "550 5.1.1 Who?" : undefined),
  (verb) => (verb === "dot" ? { reply: "250 2.0.0 Taken", drop: true } : undefined),
  (verb) => (verb === "dot" ? { reply: "250 2.0.0 Taken", afterMs: 700 } : undefined),
];

/** Registers these tests on one store. */
export function testRandomFaults({ newLocation }: StoreKind): void {
  test(`kills, drops, refusals, cancels and purges at once (seed ${seed}) lose no mail`, async (t) => {
    const random = new SeededRandom(seed);
    const children: ChildProcess[] = [];
    const { expectations, sink, store, ...harness } = await faultHarness(t, {
      location: await newLocation(t),
      sink: {
        answer: ({ verb }) => {
          if (random.below(12) > 0) return undefined;
          return faults[random.below(faults.length)]?.(verb);
        },
      },
    });
    const given: NewMessage[] = [];
    const enqueue = async () => {
      const [message = newMessage()] = newMessages(1);
      await expectations.enqueue(message);
      given.push(message);
      return message;
    };
    let isOver = false;
    const purging = (async () => {
      while (!isOver) {
        await store.purge({ ...rowsStay, bytesAfterMs: 0, limit: 100 });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    // Before any worker runs a cancel is always in time.
    assert.equal(await expectations.cancel(await enqueue()), "cancelled");
    for (let life = 0; life < 4 * rounds; life += 1) {
      children.push(await harness.spawn({ concurrency: 4, leaseMs: 1_500 }));
      const dots = sink.mails.length;
      for (let at = 0; at < 30; at += 1) {
        await enqueue();
        if (random.below(4) > 0) continue;
        const victim = given[random.below(given.length)];
        assert.ok(victim);
        await expectations.cancel(victim);
      }
      await eventually("mail is sent", () => sink.mails.length >= dots + 8);
      // The older of two is killed; one is always left.
      const [oldest] = children;
      if (children.length < 2 || !oldest) continue;
      oldest.kill("SIGKILL");
      await killed(oldest);
      children.shift();
    }
    const last = harness.worker();
    last.start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    const { attempts } = await expectations.check();
    // A delivery in doubt still has its bytes.
    await expectations.resolveDoubts();
    await eventually("the rest has ended", () => expectations.haveEnded());
    const sent = given.find(({ id }) => {
      const outcomes = attempts.get(`${id}.1`)?.map(({ outcome }) => outcome);
      return outcomes?.length === 1 && outcomes[0] === "delivered";
    });
    assert.ok(sent);
    assert.equal(await expectations.cancel(sent), "too_late");
    isOver = true;
    await purging;
    await last.stop();
    const found = await expectations.check();
    assert.ok(found.cancelled > 0);
  });
}
