/** The store against faults of a PostgreSQL server: kills, restarts, lost connections, locks. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import pg from "pg";
import {
  type ClaimedDelivery,
  type OutboxStore,
  openPostgresStore,
} from "../../../src/outbox/index.ts";
import {
  claim,
  claimOne,
  day,
  deferred,
  leased,
  message,
  sent,
} from "../../outbox/contract/support.ts";
import { type Postgres, withPostgres } from "../../support/postgres.ts";

const test = withPostgres();

/** The codes with which a write may reject while the server fails. */
const allowedCodes = new Set(["ERR_OUTBOX_STORE", "ERR_OUTBOX_IN_DOUBT"]);

/** Ids of enqueued messages by the answer to their enqueue. */
interface Expectations {
  readonly stored: string[];
  readonly refused: string[];
  readonly inDoubt: string[];
}

/** Enqueues from several callers until `until` resolves, and collects the answers. */
async function enqueueDuring(store: OutboxStore, until: Promise<unknown>): Promise<Expectations> {
  const expected: Expectations = { stored: [], refused: [], inDoubt: [] };
  let over = false;
  const ended = until.finally(() => {
    over = true;
  });
  async function caller() {
    while (!over) {
      const given = message();
      try {
        await store.enqueue([given]);
        expected.stored.push(given.id);
      } catch (error) {
        const { code } = error as { code: string };
        assert.ok(allowedCodes.has(code), `${code}: ${(error as Error).stack}`);
        (code === "ERR_OUTBOX_STORE" ? expected.refused : expected.inDoubt).push(given.id);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }
  await Promise.all([ended, ...Array.from({ length: 8 }, caller)]);
  return expected;
}

/** Acknowledged messages exist, refused ones do not, and the store works again by itself. */
async function assertExpectations(store: OutboxStore, expected: Expectations): Promise<void> {
  const after = message();
  await store.enqueue([after]);
  for (const id of [...expected.stored, after.id]) assert.ok(await store.get(id), `${id} was lost`);
  for (const id of expected.refused.slice(0, 200)) {
    assert.equal(await store.get(id), undefined, `${id} was refused and exists`);
  }
}

async function untilStored(store: OutboxStore, count: number): Promise<void> {
  for (;;) {
    const [lane] = (await store.stats()).lanes;
    if ((lane?.queued ?? 0) >= count) return;
  }
}

async function opened(server: Postgres) {
  const connectionString = await server.database();
  return { connectionString, store: await openPostgresStore({ connectionString }) };
}

/** The writes under a lease; each resolves with whether its leases were valid. */
const underLease: Readonly<
  Record<string, (store: OutboxStore, leases: readonly ClaimedDelivery[]) => Promise<boolean[]>>
> = {
  renew: async (store, leases) => [...(await store.renew(leases, 60_000))],
  intend: async (store, leases) => [
    ...(await store.intend(leases.map((lease) => ({ ...lease, worker: "w1", elapsedMs: 0 })))),
  ],
  release: async (store, leases) => [
    ...(await store.release(leases.map((lease) => ({ ...lease, delayMs: 0 })))),
  ],
  complete: async (store, leases) => {
    const results = await store.complete(leases.map((lease) => deferred(lease, 0)));
    return results.map(({ kind }) => kind === "settled");
  },
};

describe("PostgreSQL: a server that ends", () => {
  test("a killed server loses nothing acknowledged; the store reconnects", async (t, server) => {
    const { store } = await opened(server);
    t.after(() => store.close());
    const accident = (async () => {
      await untilStored(store, 50);
      await server.crash();
      await server.start();
    })();
    const expected = await enqueueDuring(store, accident);
    assert.ok(expected.stored.length >= 50);
    assert.ok(expected.refused.length + expected.inDoubt.length > 0, "no call failed");
    await assertExpectations(store, expected);
  });

  test("a server killed between claims and completions loses no mail", async (t, server) => {
    const { store } = await opened(server);
    t.after(() => store.close());
    const given = Array.from({ length: 200 }, () => message());
    await store.enqueue(given);
    const answered = new Set<string>();
    async function untilAnswered<Result>(call: () => Promise<Result>): Promise<Result> {
      for (;;) {
        try {
          return await call();
        } catch (error) {
          assert.ok(allowedCodes.has((error as { code: string }).code), (error as Error).stack);
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    }
    const midway = Promise.withResolvers<void>();
    async function worker() {
      while (answered.size < given.length) {
        const { deliveries } = await untilAnswered(() => claim(store, { limit: 5, leaseMs: 500 }));
        for (const lease of deliveries) {
          await untilAnswered(() => store.complete([sent(lease)]));
          answered.add(lease.messageId);
          if (answered.size === 60) midway.resolve();
        }
      }
    }
    const accident = midway.promise.then(() => server.crash()).then(() => server.start());
    await Promise.all([accident, worker(), worker(), worker()]);
    for (const { id } of given) {
      const found = await store.get(id);
      assert.equal(found?.deliveries[0]?.state, "done");
      assert.ok((found?.deliveries[0]?.attempts ?? 0) >= 1);
    }
    const events = await store.claimEvents({ limit: 1000, leaseMs: 60_000 });
    assert.equal(events.length, given.length);
  });

  test("the store reconnects after a server restart; leases outlive it", async (t, server) => {
    const { store } = await opened(server);
    t.after(() => store.close());
    const lease = await leased(store);
    const restart = (async () => {
      await untilStored(store, 50);
      await server.shutDown();
      await server.start();
    })();
    await assertExpectations(store, await enqueueDuring(store, restart));
    assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
  });

  test("terminated connections are replaced and lose nothing acknowledged", async (t, server) => {
    const { store, connectionString } = await opened(server);
    t.after(() => store.close());
    const terminate = `select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'postbag' and pid <> pg_backend_pid()`;
    const accident = (async () => {
      for (let round = 1; round <= 5; round += 1) {
        await server.sql(terminate, connectionString);
        const now = message();
        while ((await store.enqueue([now]).catch(() => undefined)) === undefined) {
          if ((await store.get(now.id).catch(() => undefined)) !== undefined) break;
        }
      }
    })();
    await assertExpectations(store, await enqueueDuring(store, accident));
  });

  test("a store whose server is gone can be closed", async (_t, server) => {
    const { store } = await opened(server);
    await store.enqueue([message()]);
    await server.crash();
    await assert.rejects(store.enqueue([message()]), ({ code }) => allowedCodes.has(code));
    await store.close();
    await server.start();
  });
});

describe("PostgreSQL: concurrent writes under leases", () => {
  test("two processes that claim at once never lease a delivery twice", async (t, server) => {
    const { store, connectionString } = await opened(server);
    const other = await openPostgresStore({ connectionString });
    t.after(() => Promise.all([store.close(), other.close()]));
    const count = 300;
    await store.enqueue(Array.from({ length: count }, () => message()));
    const taken: string[] = [];
    async function worker(one: OutboxStore) {
      while (taken.length < count) {
        const { deliveries } = await claim(one, { limit: 7 });
        taken.push(...deliveries.map(({ id }) => id));
        if (deliveries.length > 0) await one.complete(deliveries.slice(0, 3).map((d) => sent(d)));
      }
    }
    await Promise.all([store, other, store, other, store, other].map(worker));
    assert.equal(taken.length, count);
    assert.equal(new Set(taken).size, count);
  });

  for (const [call, write] of Object.entries(underLease)) {
    for (const [change, isHeld] of [
      ["due_at = due_at + 1", true],
      ["token = token + 1000", false],
    ] as const) {
      const found = isHeld ? "valid" : "lost";
      test(`${call} waits for a locked queue row, then finds its lease ${found}`, async (t, server) => {
        const { store, connectionString } = await opened(server);
        const client = new pg.Client({ connectionString });
        await client.connect();
        t.after(() => Promise.all([store.close(), client.end()]));
        await store.enqueue(Array.from({ length: 3 }, () => message()));
        const { deliveries } = await claim(store);
        await client.query("begin");
        await client.query(`update postbag.outbox_queue set ${change} where delivery_id = $1`, [
          deliveries[1]?.delivery,
        ]);
        const writing = write(store, deliveries);
        const waits = "select from pg_stat_activity where wait_event_type = 'Lock'";
        while ((await server.sql(waits, connectionString)).length === 0);
        await client.query("commit");
        assert.deepEqual(await writing, [true, isHeld, true]);
        const { rows } = await client.query(
          "select token is null as free from postbag.outbox_queue order by delivery_id",
        );
        const isFreed = call === "release" || call === "complete";
        assert.deepEqual(
          rows.map(({ free }) => free),
          [isFreed, isFreed && isHeld, isFreed],
        );
      });
    }
  }

  test("leases completed and renewed by two stores at once end once", async (t, server) => {
    const { store, connectionString } = await opened(server);
    const other = await openPostgresStore({ connectionString });
    t.after(() => Promise.all([store.close(), other.close()]));
    await store.enqueue(Array.from({ length: 40 }, () => message()));
    const { deliveries } = await claim(store);
    const backwards = [...deliveries].reverse();
    const [mine, theirs] = await Promise.all([
      store.complete(deliveries.map((lease) => sent(lease))),
      other.complete(backwards.map((lease) => sent(lease))),
      store.renew(backwards, 60_000),
      other.renew(deliveries, 60_000),
    ]);
    const settled = [...mine, ...theirs].filter(({ kind }) => kind === "settled");
    assert.equal(
      settled.length,
      2 * deliveries.length,
      "a repeated completion gets the first answer",
    );
    for (const { id } of deliveries) {
      assert.equal((await store.attempts(id)).length, 1);
    }
    const events = await store.claimEvents({ limit: 100, leaseMs: 60_000 });
    assert.equal(events.length, deliveries.length);
  });
});

describe("PostgreSQL: transactions of the application", () => {
  for (const end of ["rollback", "commit"] as const) {
    test(`a key waits for the transaction that holds it, until its ${end}`, async (t, server) => {
      const { store, connectionString } = await opened(server);
      const other = await openPostgresStore({ connectionString });
      const client = new pg.Client({ connectionString });
      await client.connect();
      t.after(() => Promise.all([store.close(), other.close(), client.end()]));
      const contentSha256 = new Uint8Array(32);
      const keyed = () =>
        message({ idempotency: { scope: "app", key: "k", contentSha256, keepMs: day } });
      const first = keyed();
      await client.query("begin");
      await store.enqueueWithin(client, [first]);
      let answered = 0;
      const waiting = [store, other, store, other, store, other].map(async (one) => {
        const [answer] = await one.enqueue([keyed()]);
        answered += 1;
        return answer;
      });
      // Only these calls wait: mail without a key, claims and completions go on.
      const lease = await leased(store);
      assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
      await Promise.all(Array.from({ length: 30 }, () => store.enqueue([message()])));
      assert.equal(answered, 0);
      await client.query(end);
      const answers = await Promise.all(waiting);
      const stored = answers.filter((answer) => answer?.kind === "stored");
      assert.equal(stored.length, end === "rollback" ? 1 : 0);
      assert.equal(
        answers.filter((answer) => answer?.kind === "duplicate").length,
        6 - stored.length,
      );
      const ids = new Set(answers.map((answer) => answer?.id));
      assert.deepEqual([...ids], [end === "commit" ? first.id : stored[0]?.id]);
    });
  }

  test("an open transaction does not block claims", async (t, server) => {
    const { store, connectionString } = await opened(server);
    const client = new pg.Client({ connectionString });
    await client.connect();
    t.after(() => Promise.all([store.close(), client.end()]));
    await client.query("begin");
    const within = message();
    await store.enqueueWithin(client, [within]);
    const outside = message();
    await store.enqueue([outside]);
    assert.equal((await claimOne(store)).messageId, outside.id);
    await client.query("commit");
    assert.equal((await claimOne(store)).messageId, within.id);
  });
});

describe("PostgreSQL: notifications", () => {
  test("a process is notified of new mail, also after it lost its listener", async (t, server) => {
    const connectionString = await server.database();
    const [sender, listener] = await Promise.all([
      openPostgresStore({ connectionString, notify: true }),
      openPostgresStore({ connectionString, notify: true }),
    ]);
    t.after(() => Promise.all([sender.close(), listener.close()]));
    const lanes = new Set<string | undefined>();
    let called = Promise.withResolvers<void>();
    const stop = listener.onDue((lane) => {
      lanes.add(lane);
      called.resolve();
    });
    t.after(stop);
    /** Enqueues until the listener is called. */
    async function enqueueUntilCalled() {
      called = Promise.withResolvers<void>();
      let over = false;
      const enqueueing = (async () => {
        while (!over) await sender.enqueue([message()]);
      })();
      await called.promise;
      over = true;
      await enqueueing;
    }
    await enqueueUntilCalled();
    assert.deepEqual([...lanes], ["normal"]);
    await server.sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen %'",
      connectionString,
    );
    await enqueueUntilCalled();
    await enqueueUntilCalled();
  });
});
