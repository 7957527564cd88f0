/**
 * Workers that were stopped for longer than their leases and go on as if nothing had happened, several
 * processes on one store, and processes that are killed again and again.
 *
 * `POSTBAG_FAULT_ROUNDS=20` kills twenty times as often.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { test } from "node:test";
import { SeededRandom } from "../../support/seeded-random.ts";
import { become, faultLab, killed, rounds } from "./support/fault-harness.ts";
import { letter, letters } from "./support/outbox-expectations.ts";
import { onBothStores } from "./support/stores.ts";

onBothStores(({ newPlace }) => {
  test("stopped before its intent, continued after its lease: its dot stays back", async (t) => {
    let stale: ChildProcess | undefined;
    const lab = await faultLab(t, {
      place: await newPlace(t),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "MAIL" && nth === 1) stale?.kill("SIGSTOP");
          return undefined;
        },
      },
    });
    stale = await lab.spawn();
    await lab.ledger.enqueue(letter({ doubt: "hold" }), letter());
    const other = lab.worker();
    await become("the first process was stopped", () =>
      lab.sink.lines.some((line) => line.startsWith("MAIL")),
    );
    other.start();
    await become("everything has ended", () => lab.ledger.isOver());
    stale.kill("SIGCONT");
    await become("the stale worker said DATA and went", async () => {
      stale?.stdin?.end();
      return stale?.exitCode !== null;
    });
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt], [0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ["delivered", "delivered"],
    );
  });

  for (const doubt of ["hold", "resend"] as const) {
    const end = doubt === "hold" ? "held, then delivered after all" : "sent twice, on record";
    test(`stopped after its dot, continued after its lease: ${end}`, async (t) => {
      let stale: ChildProcess | undefined;
      const lab = await faultLab(t, {
        place: await newPlace(t),
        sink: {
          answer: ({ verb, nth }) => {
            if (verb === "dot" && nth === 1) stale?.kill("SIGSTOP");
            return undefined;
          },
        },
      });
      stale = await lab.spawn();
      const message = letter({ doubt });
      await lab.ledger.enqueue(message);
      await become("the first process was stopped", () => lab.sink.mails.length === 1);
      const other = lab.worker();
      other.start();
      await become("the other has done its part", () => lab.ledger.isOver());
      const stateOf = async () => (await lab.store.get(message.id))?.deliveries[0]?.state;
      assert.equal(await stateOf(), doubt === "hold" ? "in_doubt" : "done");
      stale.kill("SIGCONT");
      await become("the late reply is on record", async () => {
        const attempts = await lab.store.attempts(`${message.id}.1`);
        return attempts[0]?.outcome === "delivered";
      });
      assert.equal(await stateOf(), "done");
      const found = await lab.ledger.check();
      assert.equal(found.duplicates, doubt === "hold" ? 0 : 2);
    });
  }

  test("several processes on one store send each message once", async (t) => {
    const lab = await faultLab(t, { place: await newPlace(t) });
    await lab.ledger.enqueue(...Array.from({ length: 40 }, () => letter({ doubt: "hold" })));
    const calm = { concurrency: 4, leaseMs: 30_000 };
    await Promise.all([lab.spawn(calm), lab.spawn(calm)]);
    await lab.ledger.enqueue(...Array.from({ length: 40 }, () => letter()));
    await become("everything has ended", () => lab.ledger.isOver());
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.equal(attempts.length, 80);
    assert.equal(new Set(attempts.map(({ worker }) => worker)).size, 2, "both took part");
  });

  test("killed again and again at any moment: nothing is lost, and no copy is off the record", async (t) => {
    const random = new SeededRandom(7);
    let child: ChildProcess | undefined;
    let steps = 40;
    const lab = await faultLab(t, {
      place: await newPlace(t),
      sink: {
        answer: () => {
          steps -= 1;
          if (steps <= 0) child?.kill("SIGKILL");
          return undefined;
        },
      },
    });
    for (let lives = 0; lives < 5 * rounds; lives += 1) {
      await lab.ledger.enqueue(...letters(12));
      steps = 10 + Math.floor(random.next() * 50);
      child = await lab.spawn({ concurrency: 4 });
      await killed(child);
    }
    const last = lab.worker();
    last.start();
    await become("everything has ended", () => lab.ledger.isOver());
    await lab.ledger.check();
  });
});
