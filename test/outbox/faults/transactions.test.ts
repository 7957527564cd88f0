/**
 * A transaction of the application's that stays open for long while everybody else works: on PostgreSQL
 * nobody waits for it but who wants the same key, on SQLite nobody else writes and everybody survives it.
 * Its mail is sent if and when it commits.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import pg from "pg";
import type { NewMessage, OutboxStore, TransactionHandle } from "../../../src/outbox/index.ts";
import { atEnd } from "../../process/support/postbag.ts";
import { become, faultLab, rounds } from "./support/fault-harness.ts";
import { letter, letters } from "./support/outbox-expectations.ts";
import { openStoreAt, type Place } from "./support/place.ts";
import { onBothStores } from "./support/stores.ts";

/** An application's own connection, with a transaction begun. */
async function begin(place: Place) {
  if (place.kind === "sqlite") {
    const db = new DatabaseSync(place.file);
    db.exec("begin immediate");
    return {
      tx: db as TransactionHandle,
      async end(how: "commit" | "rollback") {
        db.exec(how);
        db.close();
      },
    };
  }
  const client = new pg.Client({ connectionString: place.connectionString });
  await client.connect();
  await client.query("begin");
  return {
    tx: client as TransactionHandle,
    async end(how: "commit" | "rollback") {
      await client.query(how);
      await client.end();
    },
  };
}

const keyed = (key: string): NewMessage =>
  letter({
    idempotency: { scope: "app", key, contentSha256: new Uint8Array(32), keepMs: 86_400_000 },
  });

onBothStores(({ name, newPlace }) => {
  for (const how of ["commit", "rollback"] as const) {
    test(`many keys wait for the transaction that has them, and are ${how === "commit" ? "its own" : "the first other's"} after its ${how}`, async (t) => {
      const place = await newPlace(t);
      const patient = place.kind === "sqlite" ? { ...place, busyTimeoutMs: 30_000 } : place;
      const lab = await faultLab(t, { place: patient });
      const others = await Promise.all([openStoreAt(patient), openStoreAt(patient)]);
      for (const other of others) atEnd(t, () => other.close());
      const keys = Array.from({ length: 10 }, (_, at) => `order-${at}`);
      const { tx, end } = await begin(place);
      const own = keys.map(keyed);
      await lab.store.enqueueWithin(tx, own);
      let answered = 0;
      const waiting = [lab.store, ...others].flatMap((store: OutboxStore) =>
        keys.map(async (key) => {
          const message = keyed(key);
          const [answer] = await store.enqueue([message]);
          answered += 1;
          return { key, message, answer };
        }),
      );
      const all = Promise.all(waiting);
      if (name === "PostgreSQL") {
        for (let at = 0; at < 30; at += 1) await lab.ledger.enqueue(letter());
      }
      assert.equal(answered, 0, "nobody may be told before it is decided");
      await end(how);
      for (const [at, key] of keys.entries()) {
        const answers = (await all).filter((one) => one.key === key);
        const stored = answers.filter(({ answer }) => answer?.kind === "stored");
        assert.equal(stored.length, how === "commit" ? 0 : 1);
        const winner = how === "commit" ? own[at] : stored[0]?.message;
        assert.ok(winner);
        assert.ok(answers.every(({ answer }) => answer?.id === winner.id));
        lab.ledger.acknowledge(winner);
        lab.ledger.refuse(...answers.map(({ message }) => message).filter((one) => one !== winner));
        if (how === "rollback") lab.ledger.refuse(own[at] as NewMessage);
      }
      const worker = lab.worker();
      worker.start();
      await become("everything has ended", () => lab.ledger.isOver());
      const found = await lab.ledger.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    });
  }

  if (name === "PostgreSQL") {
    test("a storm of mail is enqueued and sent while a transaction stays open; its mail comes after its commit", async (t) => {
      const place = await newPlace(t);
      const lab = await faultLab(t, { place });
      const [committed, rolledBack] = [await begin(place), await begin(place)];
      const [later, never] = [letters(5), letters(5)];
      await lab.store.enqueueWithin(committed.tx, later);
      await lab.store.enqueueWithin(rolledBack.tx, never);
      const workers = [lab.worker({ concurrency: 8 }), lab.worker({ concurrency: 8 })];
      for (const worker of workers) worker.start();
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let at = 0; at < 30 * rounds; at += 1) await lab.ledger.enqueue(...letters(1));
        }),
      );
      await become("the storm is over", () => lab.ledger.isOver());
      assert.equal(lab.sink.mails.length, 240 * rounds, "nothing of what is open was sent");
      await committed.end("commit");
      await rolledBack.end("rollback");
      lab.ledger.acknowledge(...later);
      lab.ledger.refuse(...never);
      await become("the rest has come", () => lab.sink.mails.length === 240 * rounds + 5);
      await become("everything has ended", () => lab.ledger.isOver());
      const found = await lab.ledger.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    });
    return;
  }

  test("a transaction that locks the file longer than anybody waits: refused or kept, then all goes on", async (t) => {
    const place = await newPlace(t);
    assert.ok(place.kind === "sqlite");
    const failures: string[] = [];
    let application: Awaited<ReturnType<typeof begin>> | undefined;
    const within = letters(5);
    const lab = await faultLab(t, {
      place: { ...place, busyTimeoutMs: 50 },
      sink: {
        answer: ({ verb, nth }) => {
          if (verb !== "dot" || nth !== 20) return undefined;
          // What was on its way to the server is taken while nobody can write that down.
          return { reply: "250 2.0.0 Taken", afterMs: 200 };
        },
      },
    });
    await lab.ledger.enqueue(...letters(60));
    const worker = lab.worker({
      concurrency: 4,
      onEvent: (event) => {
        if (event.kind === "store-failed") failures.push(event.doing);
      },
    });
    worker.start();
    await become("it sends", () => lab.sink.mails.length >= 20);
    await become("the file is ours", async () => {
      application = await begin(place).catch(() => undefined);
      return application !== undefined;
    });
    assert.ok(application);
    await lab.store.enqueueWithin(application.tx, within);
    const refused = await lab.ledger.enqueue(letter()).catch((error) => error);
    assert.equal(refused.code, "ERR_OUTBOX_STORE");
    assert.match(refused.message, /locked/);
    await become("every lease has run out", () => failures.filter((f) => f === "renew").length > 8);
    await application.end("commit");
    lab.ledger.acknowledge(...within);
    await become("everything has ended", () => lab.ledger.isOver());
    await worker.stop();
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    assert.equal(found.attempts.size, 65);
  });

  test("a storm of writers on one file: nobody is lost for being busy", async (t) => {
    const place = await newPlace(t);
    const impatient = { ...(place as Extract<Place, { kind: "sqlite" }>), busyTimeoutMs: 5 };
    const lab = await faultLab(t, { place: impatient });
    await Promise.all([lab.spawn({ concurrency: 4 }), lab.spawn({ concurrency: 4 })]);
    let locks = 0;
    let isOver = false;
    const applications = [1, 2].map(async () => {
      for (; !isOver; locks += 1) {
        const other = await begin(place).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 10));
        await other?.end(locks % 2 === 0 ? "commit" : "rollback");
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    let busy = 0;
    for (let at = 0; at < 60 * rounds; at += 1) {
      await lab.ledger.enqueue(...letters(1)).catch((error) => {
        assert.match(error.message, /locked|busy/);
        busy += 1;
      });
    }
    isOver = true;
    await Promise.all(applications);
    await become("everything has ended", () => lab.ledger.isOver());
    const found = await lab.ledger.check();
    assert.ok(busy > 0 && lab.ledger.acknowledged > 0, `${busy} of ${60 * rounds} were busy`);
    assert.equal(found.dead, 0);
  });
});
