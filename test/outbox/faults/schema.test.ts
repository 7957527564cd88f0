/**
 * A newer program migrates the tables while a worker runs: the worker claims nothing more and ends
 * its sends.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import {
  createOutbox,
  type OutboxStore,
  Worker,
  type WorkerEvent,
  workerLogLine,
} from "../../../src/outbox/index.ts";
import { systemClock } from "../../../src/system/index.ts";
import { atEnd } from "../../support/temporary.ts";
import { message, shown } from "../contract/support.ts";
import { quickWorker } from "./support/quick-worker.ts";
import { MovedClock } from "./support/store-clock.ts";
import { openStoreAt, type StoreLocation } from "./support/store-location.ts";
import { onBothStores } from "./support/stores.ts";

/** Leaves behind what the migration of a later program would. */
async function migrateByNewer(location: StoreLocation): Promise<void> {
  const sql = "insert into outbox_migration (version) values (99)";
  if (location.kind === "sqlite") {
    using database = new DatabaseSync(location.file);
    database.exec(sql);
    return;
  }
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: location.connectionString });
  await client.connect();
  await client.query(sql.replace("into ", "into postbag."));
  await client.end();
}

/** A clock of a worker that can leap ahead; its timers are real. */
class LeapingClock extends MovedClock {
  leapMs = 0;
  override readonly now = () => systemClock.now() + this.leapMs;
}

const reply = { code: 250, text: "Taken", phase: "message" } as const;

/** A sender that waits with its mail until `goOn` is called. */
function heldSender() {
  const given = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const sent: string[] = [];
  const send = async ({ recipients }: { readonly recipients: readonly string[] }) => {
    given.resolve();
    await goOn.promise;
    sent.push(...recipients);
    return recipients.map(() => ({ kind: "delivered", reply }) as const);
  };
  return { send, sent, given: given.promise, goOn: goOn.resolve };
}

onBothStores(({ newLocation }) => {
  async function schemaHarness(t: Parameters<typeof newLocation>[0]) {
    const location = await newLocation(t);
    const store = await openStoreAt(location);
    atEnd(t, () => store.close());
    const clock = new LeapingClock();
    const sender = heldSender();
    const outdated = Promise.withResolvers<WorkerEvent>();
    const worker = new Worker({
      ...quickWorker,
      store,
      clock,
      senderOf: () => sender.send,
      onEvent: (event) => event.kind === "outdated" && outdated.resolve(event),
    });
    return { location, store, clock, sender, worker, outdated: outdated.promise };
  }
  const queued = async (store: OutboxStore) =>
    (await store.stats()).lanes.map(({ lane, leased, due }) => [lane, leased, due]);

  test("a worker ends its sends, claims nothing more, and reports the new schema", async (t) => {
    const { location, store, clock, sender, worker, outdated } = await schemaHarness(t);
    const mail = message();
    await store.enqueue([mail]);
    worker.start();
    await sender.given;
    await migrateByNewer(location);
    clock.leapMs = 30_000;
    const line = workerLogLine(await outdated);
    assert.equal(line.level, "error");
    assert.match(String(line.fields.err), /version 99.* update this one/);
    await store.enqueue([message()]);
    sender.goOn();
    assert.deepEqual(await worker.stop(), { left: 0 });
    assert.equal((await shown(store, mail.id)).state, "done");
    assert.equal(sender.sent.length, 1);
    assert.deepEqual(await queued(store), [["normal", 0, 1]]);
    await assert.rejects(createOutbox({ store }).stats(), { code: "ERR_OUTBOX_SCHEMA_VERSION" });
  });

  test("a tick under a newer schema claims nothing and rejects", async (t) => {
    const { location, store, clock, sender, worker } = await schemaHarness(t);
    sender.goOn();
    assert.equal((await worker.tick()).claimed, 0);
    await store.enqueue([message()]);
    await migrateByNewer(location);
    clock.leapMs = 30_000;
    for (let ticks = 0; ticks < 2; ticks += 1) {
      await assert.rejects(worker.tick(), { code: "ERR_OUTBOX_SCHEMA_VERSION" });
    }
    assert.deepEqual(await queued(store), [["normal", 0, 1]]);
  });

  test("a worker that runs by ticks ends under a newer schema", async (t) => {
    const { location, worker, outdated } = await schemaHarness(t);
    await migrateByNewer(location);
    const ticking = new Worker({ ...worker.settings, maxAttempts: 8, intervalMs: 5 });
    await ticking.run(new AbortController().signal);
    assert.equal((await outdated).kind, "outdated");
  });
});
