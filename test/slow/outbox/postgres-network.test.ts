/**
 * The network between a worker and PostgreSQL: cut, closed on one side, silent, or slow. A worker
 * that is cut off sends nothing without a stored intent, and goes on by itself when the network is
 * back.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openPostgresStore } from "../../../src/outbox/index.ts";
import {
  eventually,
  faultHarness,
  shortLeaseMs,
} from "../../outbox/faults/support/fault-harness.ts";
import { newMessage, newMessages } from "../../outbox/faults/support/outbox-expectations.ts";
import type { StoreLocation } from "../../outbox/faults/support/store-location.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";
import {
  type ProxyAction,
  type ProxyChunk,
  type ProxyDirection,
  startTcpProxy,
} from "../../support/tcp-proxy.ts";
import { atEnd } from "../../support/temporary.ts";

/** Time limit of an answer, where some answers never come. */
const shortTimeoutMs = 700;

const pass = () => "pass" as const;

onPostgres(({ newLocation }, server) => {
  /** The same database behind a network that the test makes bad. */
  async function networkTo(t: TestContext, location: StoreLocation, timeoutMs = shortTimeoutMs) {
    const network: { actionFor: (chunk: ProxyChunk) => ProxyAction } = { actionFor: pass };
    const socket = `${server().folder}/.s.PGSQL.5432`;
    const proxy = await startTcpProxy(socket, (chunk) => network.actionFor(chunk));
    atEnd(t, () => proxy[Symbol.asyncDispose]());
    assert.ok(location.kind === "postgres");
    const database = location.connectionString.split("/").at(-1);
    const connectionString = `postgres://postgres@127.0.0.1:${proxy.port}/${database}`;
    const store = await openPostgresStore({ connectionString, timeoutMs, migrate: false });
    atEnd(t, () => store.close());
    return Object.assign(network, { store });
  }

  for (const action of ["drop", "half-close", "blackhole"] as const) {
    for (const direction of ["to server", "to client"] as const satisfies ProxyDirection[]) {
      test(`${action} of all chunks ${direction}: each mail is sent once, afterwards`, async (t) => {
        const location = await newLocation(t);
        const network = await networkTo(t, location);
        const bad = (chunk: ProxyChunk) => (chunk.direction === direction ? action : "pass");
        const harness = await faultHarness(t, {
          location,
          sink: {
            answer: ({ verb, nth }) => {
              if (verb === "dot" && nth === 20) network.actionFor = bad;
              return undefined;
            },
          },
        });
        const { expectations, sink } = harness;
        let failures = 0;
        const worker = harness.worker({
          store: network.store,
          concurrency: 4,
          leaseMs: shortLeaseMs,
          onEvent: ({ kind }) => {
            if (kind === "store-failed") failures += 1;
          },
        });
        await expectations.enqueue(...newMessages(40));
        worker.start();
        await eventually("the worker noticed", () => failures >= 6);
        const sent = sink.mails.length;
        assert.ok(sent < 30, `${sent} were sent though no intent could be stored`);
        network.actionFor = pass;
        await eventually("every delivery has ended", () => expectations.haveEnded());
        await worker.stop();
        const found = await expectations.check();
        assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
      });
    }
  }

  test("a network that delays everything changes nothing", async (t) => {
    const location = await newLocation(t);
    const network = await networkTo(t, location, 30_000);
    network.actionFor = () => ({ delayMs: 15 });
    const harness = await faultHarness(t, { location });
    const { expectations } = harness;
    await expectations.enqueue(...newMessages(20));
    const worker = harness.worker({ store: network.store, concurrency: 4 });
    worker.start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await worker.stop();
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    assert.equal([...found.attempts.values()].flat().length, 20);
  });

  test("a worker cut off before its dot sends no dot; another sends the mail once", async (t) => {
    const location = await newLocation(t);
    const network = await networkTo(t, location);
    const harness = await faultHarness(t, {
      location,
      sink: {
        answer: ({ verb, session }) => {
          if (verb !== "MAIL" || session > 1) return undefined;
          network.actionFor = () => "blackhole";
          // Goes on when less is left of the lease than a dot needs.
          return { reply: "250 2.1.0 Ok", afterMs: 0.9 * shortLeaseMs };
        },
      },
    });
    const { expectations, sink } = harness;
    const message = newMessage({ doubt: "hold" });
    await expectations.enqueue(message);
    harness.worker({ store: network.store, leaseMs: shortLeaseMs }).start();
    await eventually("it began to send", () => sink.lines.some((line) => line.startsWith("MAIL")));
    const other = harness.worker();
    other.start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    network.actionFor = pass;
    await other.stop();
    await expectations.enqueue(newMessage());
    await eventually("the first worker sends again", () => expectations.haveEnded());
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt], [0, 0]);
    assert.equal(sink.mails.length, 2);
    const attempts = found.attempts.get(`${message.id}.1`) ?? [];
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ["delivered"],
    );
  });

  test("an enqueue without an answer is in doubt, one without a connection is refused", async (t) => {
    const location = await newLocation(t);
    const network = await networkTo(t, location);
    const { store } = await faultHarness(t, { location });
    await network.store.enqueue([newMessage()]);
    network.actionFor = ({ direction }) => (direction === "to client" ? "blackhole" : "pass");
    const stored = newMessage();
    await assert.rejects(network.store.enqueue([stored]), {
      code: "ERR_OUTBOX_IN_DOUBT",
      message: /The database was lost: .*timeout; the write may or may not be durable/,
    });
    assert.ok(await store.get(stored.id), "only the answer was lost");
    network.actionFor = () => "blackhole";
    const refused = newMessage();
    await assert.rejects(network.store.enqueue([refused]), {
      code: "ERR_OUTBOX_STORE",
      message: /timeout/,
    });
    network.actionFor = pass;
    await network.store.enqueue([refused]);
    assert.ok(await store.get(refused.id));
  });
});
