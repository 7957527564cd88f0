/**
 * Everything at once, by a seed: an application that enqueues and cancels, worker processes that are killed
 * and followed by others, a server that drops, refuses and puts off, a purge that never rests.
 *
 * `POSTBAG_FAULT_ROUNDS=20` makes it twenty times longer, `POSTBAG_FAULT_SEED=7` another one.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { test } from "node:test";
import type { NewMessage } from "../../../src/outbox/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import type { SinkAnswer } from "../../support/smtp-sink.ts";
import { become, faultLab, killed, rounds } from "./support/fault-harness.ts";
import { letters } from "./support/outbox-expectations.ts";
import { onBothStores } from "./support/stores.ts";

const seed = Number(process.env.POSTBAG_FAULT_SEED ?? 1);

/** Rows are never purged here, because the books are kept by them. */
const never = { rowsAfterMs: 1e12, deadAfterMs: 1e12, eventsAfterMs: 1e12 };

/** What the server does at one step in twelve. */
const misdeeds: readonly ((verb: string) => SinkAnswer)[] = [
  () => ({ drop: true }),
  () => ({ reply: "421 4.3.2 Closing", drop: true }),
  () => "451 4.3.0 Later",
  (verb) => (verb === "RCPT" ? "550 5.1.1 Who?" : undefined),
  (verb) => (verb === "dot" ? { reply: "250 2.0.0 Taken", drop: true } : undefined),
  (verb) => (verb === "dot" ? { reply: "250 2.0.0 Taken", afterMs: 700 } : undefined),
];

onBothStores(({ newPlace }) => {
  test(`kills, drops, refusals, cancels and purges at once (seed ${seed}): the books agree`, async (t) => {
    const random = new SeededRandom(seed);
    const children: ChildProcess[] = [];
    const lab = await faultLab(t, {
      place: await newPlace(t),
      sink: {
        answer: ({ verb }) => {
          if (random.below(12) > 0) return undefined;
          return misdeeds[random.below(misdeeds.length)]?.(verb);
        },
      },
    });
    const given: NewMessage[] = [];
    let isOver = false;
    const purging = (async () => {
      while (!isOver) {
        await lab.store.purge({ ...never, bytesAfterMs: 0, limit: 100 });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const answers = new Map<string | undefined, number>();
    for (let life = 0; life < 4 * rounds; life += 1) {
      children.push(await lab.spawn({ concurrency: 4, leaseMs: 1_500 }));
      const dots = lab.sink.mails.length;
      for (let at = 0; at < 30; at += 1) {
        const [message] = letters(1);
        assert.ok(message);
        await lab.ledger.enqueue(message);
        given.push(message);
        if (random.below(4) > 0) continue;
        const victim = given[random.below(given.length)];
        assert.ok(victim);
        const answer = await lab.ledger.cancel(victim);
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
      }
      await become("mail is sent", () => lab.sink.mails.length >= dots + 8);
      // The older of the two is killed; one is always left.
      const [oldest] = children;
      if (children.length < 2 || !oldest) continue;
      oldest.kill("SIGKILL");
      await killed(oldest);
      children.shift();
    }
    const last = lab.worker();
    last.start();
    await become("everything has ended", () => lab.ledger.isOver());
    const found = await lab.ledger.check();
    // What is in doubt still has its bytes.
    await lab.ledger.resolveDoubts();
    await become("the rest has ended", () => lab.ledger.isOver());
    isOver = true;
    await purging;
    await last.stop();
    await lab.ledger.check();
    const sum = [...answers.values()].reduce((all, one) => all + one, 0);
    assert.ok(sum > 0 && found.cancelled > 0, "something was cancelled in time");
    assert.ok((answers.get("too_late") ?? 0) > 0, "something was cancelled too late");
  });
});
