/**
 * A transaction of the application that stays open for long while enqueues and sends go on. On
 * PostgreSQL only enqueues with an idempotency key of the transaction wait for it; on SQLite no
 * other connection can write until it ends. Its mail is sent if and when it commits.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import pg from "pg";
import {
  type NewMessage,
  OutboxError,
  type OutboxStore,
  type TransactionHandle,
} from "../../../src/outbox/index.ts";
import {
  eventually,
  faultHarness,
  rounds,
  shortLeaseMs,
} from "../../outbox/faults/support/fault-harness.ts";
import { newMessage, newMessages } from "../../outbox/faults/support/outbox-expectations.ts";
import { openStoreAt, type StoreLocation } from "../../outbox/faults/support/store-location.ts";
import { onBothStores } from "../../outbox/faults/support/stores.ts";
import { atEnd } from "../../support/temporary.ts";

interface ApplicationTransaction {
  readonly tx: TransactionHandle;
  end(how: "commit" | "rollback"): Promise<void>;
}

/** A connection of the application's own, with a transaction begun. Rejects if SQLite is locked. */
async function begin(location: StoreLocation): Promise<ApplicationTransaction> {
  if (location.kind === "sqlite") {
    const db = new DatabaseSync(location.file);
    try {
      db.exec("begin immediate");
    } catch (error) {
      db.close();
      throw error;
    }
    return {
      tx: db as TransactionHandle,
      async end(how) {
        db.exec(how);
        db.close();
      },
    };
  }
  const client = new pg.Client({ connectionString: location.connectionString });
  await client.connect();
  await client.query("begin");
  return {
    tx: client as TransactionHandle,
    async end(how) {
      await client.query(how);
      await client.end();
    },
  };
}

/** The same, as soon as SQLite is not locked. */
async function beginEventually(location: StoreLocation): Promise<ApplicationTransaction> {
  let begun: ApplicationTransaction | undefined;
  await eventually("the transaction has begun", async () => {
    begun = await begin(location).catch(() => undefined);
    return begun !== undefined;
  });
  assert.ok(begun);
  return begun;
}

const keyed = (key: string): NewMessage =>
  newMessage({
    idempotency: { scope: "app", key, contentSha256: new Uint8Array(32), keepMs: 86_400_000 },
  });

onBothStores(({ name, newLocation }) => {
  for (const how of ["commit", "rollback"] as const) {
    const end = how === "commit" ? "stores its own message" : "lets another win";
    test(`enqueues wait for a transaction with their key; its ${how} ${end}`, async (t) => {
      const location = await newLocation(t);
      const waiting =
        location.kind === "sqlite" ? { ...location, busyTimeoutMs: 30_000 } : location;
      const { expectations, store, worker } = await faultHarness(t, { location: waiting });
      const others = await Promise.all([openStoreAt(waiting), openStoreAt(waiting)]);
      for (const other of others) atEnd(t, () => other.close());
      const keys = Array.from({ length: 10 }, (_, at) => `order-${at}`);
      const { tx, end: endTransaction } = await begin(location);
      const own = keys.map(keyed);
      await store.enqueueWithin(tx, own);
      let answered = 0;
      const enqueues = [store, ...others].flatMap((each: OutboxStore) =>
        keys.map(async (key) => {
          const message = keyed(key);
          const [answer] = await each.enqueue([message]);
          answered += 1;
          return { key, message, answer };
        }),
      );
      const all = Promise.all(enqueues);
      if (name === "PostgreSQL") {
        for (let at = 0; at < 30; at += 1) await expectations.enqueue(newMessage());
      }
      assert.equal(answered, 0, "none is answered before the transaction has ended");
      await endTransaction(how);
      for (const [at, key] of keys.entries()) {
        const answers = (await all).filter((one) => one.key === key);
        const stored = answers.filter(({ answer }) => answer?.kind === "stored");
        assert.equal(stored.length, how === "commit" ? 0 : 1);
        const winner = how === "commit" ? own[at] : stored[0]?.message;
        assert.ok(winner);
        assert.ok(answers.every(({ answer }) => answer?.id === winner.id));
        expectations.acknowledge(winner);
        expectations.refuse(
          ...answers.map(({ message }) => message).filter((one) => one !== winner),
        );
        if (how === "rollback") expectations.refuse(own[at] as NewMessage);
      }
      worker().start();
      await eventually("every delivery has ended", () => expectations.haveEnded());
      const found = await expectations.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    });
  }

  if (name === "PostgreSQL") {
    test("mail is enqueued and sent beside an open transaction, its mail after the commit", async (t) => {
      const location = await newLocation(t);
      const { expectations, sink, store, worker } = await faultHarness(t, { location });
      const [committed, rolledBack] = [await begin(location), await begin(location)];
      const [later, never] = [newMessages(5), newMessages(5)];
      await store.enqueueWithin(committed.tx, later);
      await store.enqueueWithin(rolledBack.tx, never);
      for (let workers = 0; workers < 2; workers += 1) worker({ concurrency: 8 }).start();
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let at = 0; at < 20 * rounds; at += 1) await expectations.enqueue(newMessage());
        }),
      );
      await eventually("every committed delivery has ended", () => expectations.haveEnded());
      assert.equal(sink.mails.length, 160 * rounds, "no mail of an open transaction was sent");
      await committed.end("commit");
      await rolledBack.end("rollback");
      expectations.acknowledge(...later);
      expectations.refuse(...never);
      await eventually("the rest has come", () => sink.mails.length === 160 * rounds + 5);
      await eventually("every delivery has ended", () => expectations.haveEnded());
      const found = await expectations.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    });
    return;
  }

  test("a lock on SQLite longer than every wait refuses mail and loses none", async (t) => {
    const location = await newLocation(t);
    assert.ok(location.kind === "sqlite");
    const failures: string[] = [];
    const isLocked = Promise.withResolvers<void>();
    const within = newMessages(5);
    const { expectations, sink, store, ...harness } = await faultHarness(t, {
      location: { ...location, busyTimeoutMs: 50 },
      sink: {
        answer: ({ verb, nth }) => {
          if (verb !== "dot" || nth !== 20) return undefined;
          // The server takes this mail while no connection can record that.
          return { reply: "250 2.0.0 Taken", after: isLocked.promise };
        },
      },
    });
    await expectations.enqueue(...newMessages(60));
    const worker = harness.worker({
      concurrency: 4,
      leaseMs: shortLeaseMs,
      onEvent: (event) => {
        if (event.kind === "store-failed") failures.push(event.doing);
      },
    });
    worker.start();
    await eventually("it sends", () => sink.mails.length >= 20);
    const { tx, end } = await beginEventually(location);
    isLocked.resolve();
    await store.enqueueWithin(tx, within);
    const refused = await expectations.enqueue(newMessage()).catch((error) => error);
    assert.ok(refused instanceof OutboxError);
    assert.equal(refused.code, "ERR_OUTBOX_STORE");
    assert.match(refused.message, /locked/);
    const renewalsFailed = () => failures.filter((doing) => doing === "renew").length;
    await eventually("every lease has run out", () => renewalsFailed() > 8);
    await end("commit");
    expectations.acknowledge(...within);
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await worker.stop();
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    assert.equal(found.attempts.size, 65);
  });

  test("concurrent SQLite writers lose no mail by being refused as busy", async (t) => {
    const location = await newLocation(t);
    assert.ok(location.kind === "sqlite");
    const { expectations, ...harness } = await faultHarness(t, {
      location: { ...location, busyTimeoutMs: 5 },
    });
    await Promise.all([harness.spawn({ concurrency: 4 }), harness.spawn({ concurrency: 4 })]);
    for (let turn = 0; turn < 15 * rounds; turn += 1) {
      const [refused, ...offered] = newMessages(4) as [NewMessage, ...NewMessage[]];
      const { end } = await beginEventually(location);
      await assert.rejects(expectations.enqueue(refused), /locked|busy/);
      await end(turn % 2 === 0 ? "commit" : "rollback");
      for (const message of offered) {
        await expectations.enqueue(message).catch((error) => {
          assert.match(error.message, /locked|busy/);
        });
      }
    }
    await eventually("a message was taken", () =>
      expectations.enqueue(newMessage()).then(
        () => true,
        () => false,
      ),
    );
    await eventually("every delivery has ended", () => expectations.haveEnded());
    const found = await expectations.check();
    assert.equal(found.dead, 0);
  });
});
