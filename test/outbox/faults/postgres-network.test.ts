/**
 * The network between a worker and PostgreSQL: cut, closed on one side, dead without a word, or slow. Who
 * is cut off sends nothing that the store does not know of, and comes back by itself.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type OutboxStore, openPostgresStore } from "../../../src/outbox/index.ts";
import { atEnd } from "../../process/support/postbag.ts";
import {
  type ProxyAction,
  type ProxyChunk,
  type ProxyDirection,
  startTcpProxy,
} from "../../support/tcp-proxy.ts";
import { become, faultLab } from "./support/fault-harness.ts";
import { letter, letters } from "./support/outbox-expectations.ts";
import type { Place } from "./support/place.ts";
import { onPostgres } from "./support/stores.ts";

/** Longest wait for an answer of the store behind the bad network. */
const timeoutMs = 700;

onPostgres(({ newPlace }, server) => {
  /** The same database behind a network that a test makes bad. */
  async function networkTo(t: TestContext, place: Place) {
    const network: { deed: (chunk: ProxyChunk) => ProxyAction; store?: OutboxStore } = {
      deed: () => "pass",
    };
    const proxy = await startTcpProxy(`${server().folder}/.s.PGSQL.5432`, (chunk) =>
      network.deed(chunk),
    );
    atEnd(t, () => proxy[Symbol.asyncDispose]());
    assert.ok(place.kind === "postgres");
    const database = place.connectionString.split("/").at(-1);
    const connectionString = `postgres://postgres@127.0.0.1:${proxy.port}/${database}`;
    const store = await openPostgresStore({ connectionString, timeoutMs, migrate: false });
    atEnd(t, () => store.close());
    return Object.assign(network, { store });
  }

  for (const deed of ["drop", "half-close", "blackhole"] as const) {
    for (const direction of ["to server", "to client"] as const satisfies ProxyDirection[]) {
      test(`${deed} of all that goes ${direction}: sent once, as soon as it is over`, async (t) => {
        const place = await newPlace(t);
        const network = await networkTo(t, place);
        const bad = (chunk: ProxyChunk) => (chunk.direction === direction ? deed : "pass");
        const lab = await faultLab(t, {
          place,
          sink: {
            answer: ({ verb, nth }) => {
              if (verb === "dot" && nth === 20) network.deed = bad;
              return undefined;
            },
          },
        });
        let failures = 0;
        const worker = lab.worker({
          store: network.store,
          concurrency: 4,
          onEvent: ({ kind }) => {
            if (kind === "store-failed") failures += 1;
          },
        });
        await lab.ledger.enqueue(...letters(40));
        worker.start();
        await become("the worker noticed", () => failures >= 6);
        const sent = lab.sink.mails.length;
        assert.ok(sent < 30, `${sent} were sent though no intent could be kept`);
        network.deed = () => "pass";
        await become("everything has ended", () => lab.ledger.isOver());
        await worker.stop();
        const found = await lab.ledger.check();
        assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
      });
    }
  }

  test("a network that delays everything changes nothing", async (t) => {
    const place = await newPlace(t);
    const network = await networkTo(t, place);
    network.deed = () => ({ delayMs: 15 });
    const lab = await faultLab(t, { place });
    await lab.ledger.enqueue(...letters(20));
    const worker = lab.worker({ store: network.store, concurrency: 4, leaseMs: 30_000 });
    worker.start();
    await become("everything has ended", () => lab.ledger.isOver());
    await worker.stop();
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    assert.equal([...found.attempts.values()].flat().length, 20);
  });

  test("cut off without a word before its dot, a worker keeps it back; another one sends the mail, once", async (t) => {
    const place = await newPlace(t);
    const network = await networkTo(t, place);
    const lab = await faultLab(t, {
      place,
      sink: {
        answer: ({ verb, session }) => {
          if (verb !== "MAIL" || session > 1) return undefined;
          network.deed = () => "blackhole";
          // Goes on when less is left of the lease than a dot needs.
          return { reply: "250 2.1.0 Ok", afterMs: 0.9 * 600 };
        },
      },
    });
    const message = letter({ doubt: "hold" });
    await lab.ledger.enqueue(message);
    const cutOff = lab.worker({ store: network.store });
    cutOff.start();
    await become("it began to send", () => lab.sink.lines.some((line) => line.startsWith("MAIL")));
    const other = lab.worker();
    other.start();
    await become("everything has ended", () => lab.ledger.isOver());
    network.deed = () => "pass";
    await other.stop();
    await lab.ledger.enqueue(letter());
    await become("the first works again", () => lab.ledger.isOver());
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt], [0, 0]);
    assert.equal(lab.sink.mails.length, 2);
    const attempts = found.attempts.get(`${message.id}.1`) ?? [];
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ["delivered"],
    );
  });

  test("an enqueue that gets no answer is in doubt after its time, one that gets no connection is refused", async (t) => {
    const place = await newPlace(t);
    const network = await networkTo(t, place);
    const lab = await faultLab(t, { place });
    await network.store.enqueue([letter()]);
    network.deed = ({ direction }) => (direction === "to client" ? "blackhole" : "pass");
    const stored = letter();
    await assert.rejects(network.store.enqueue([stored]), {
      code: "ERR_OUTBOX_IN_DOUBT",
      message: /The database was lost while a write was with it: .*timeout/,
    });
    assert.ok(await lab.store.get(stored.id), "only the answer was lost");
    network.deed = () => "blackhole";
    const refused = letter();
    await assert.rejects(network.store.enqueue([refused]), {
      code: "ERR_OUTBOX_STORE",
      message: /timeout/,
    });
    network.deed = () => "pass";
    await network.store.enqueue([refused]);
    assert.ok(await lab.store.get(refused.id));
  });
});
