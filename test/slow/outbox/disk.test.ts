/**
 * A disk under the outbox that is full or read-only: `enqueue` rejects with the reason for mail
 * that cannot be stored, and stores nothing of it. The outcomes of sent mail stay in the store, and
 * work goes on once the disk can be written.
 */
import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { OutboxError, openPostgresStore, type WorkerEvent } from "../../../src/outbox/index.ts";
import {
  eventually,
  type FaultHarness,
  faultHarness,
  shortLeaseMs,
} from "../../outbox/faults/support/fault-harness.ts";
import { newMessage, newMessages } from "../../outbox/faults/support/outbox-expectations.ts";
import { openStoreAt, type StoreLocation } from "../../outbox/faults/support/store-location.ts";
import { Postgres, postgresBinaries } from "../../support/postgres.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { fill, mountSmallDisk, type SmallDisk, whyNoDisk } from "../root/small-disk.ts";

/** Registers a test that needs a disk of its own. */
function withDisk(
  name: string,
  work: (t: TestContext, disk: SmallDisk) => Promise<void>,
  megabytes = 48,
): void {
  test(name, async (t) => {
    const why = whyNoDisk();
    if (why !== undefined) return t.skip(why);
    await work(t, mountSmallDisk(t, temporaryDirectory(t), { megabytes }));
  });
}

/** Makes a store, and something that happens at the twentieth final dot. */
function harnessWith(t: TestContext, location: StoreLocation, atDot: () => void) {
  return faultHarness(t, {
    location,
    sink: {
      answer: ({ verb, nth }) => {
        if (verb === "dot" && nth === 20) atDot();
        return undefined;
      },
    },
  });
}

/** A worker that sends 60 messages, and the calls of the store that failed for it. */
async function startedWorker(harness: FaultHarness) {
  const failed: string[] = [];
  const worker = harness.worker({
    concurrency: 4,
    leaseMs: shortLeaseMs,
    onEvent: (event: WorkerEvent) => {
      if (event.kind === "store-failed") failed.push(event.doing);
    },
  });
  await harness.expectations.enqueue(...newMessages(60));
  worker.start();
  return { worker, failed, times: (doing: string) => failed.filter((one) => one === doing).length };
}

async function enqueueUntilRefused({ expectations }: FaultHarness): Promise<OutboxError> {
  for (let tries = 0; tries < 10_000; tries += 1) {
    try {
      await expectations.enqueue(newMessage());
    } catch (error) {
      assert.ok(error instanceof OutboxError);
      return error;
    }
  }
  return assert.fail("the disk was never full");
}

withDisk(
  "SQLite on a full disk refuses new mail, loses none, and goes on with room",
  async (t, disk) => {
    const ballast = join(disk.path, "ballast");
    const location = { kind: "sqlite", file: join(disk.path, "outbox.db") } as const;
    // Full from the instant at which the server takes a mail.
    const harness = await harnessWith(t, location, () => fill(ballast));
    const { expectations, sink } = harness;
    const { worker, times } = await startedWorker(harness);
    await eventually("an outcome was refused", () => times("complete") > 0);

    const refusal = await enqueueUntilRefused(harness);
    assert.equal(refusal.code, "ERR_OUTBOX_STORE");
    assert.match(refusal.message, /full/);
    const many = await Promise.allSettled(newMessages(20).map((one) => expectations.enqueue(one)));
    assert.ok(many.every(({ status }) => status === "rejected"));
    assert.equal(await expectations.haveEnded(), false, "the store can still be read");
    await eventually("every lease has run out", () => times("renew") > 8);
    assert.ok(sink.mails.length < 60, "no mail is sent whose intent cannot be stored");

    rmSync(ballast);
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await expectations.enqueue(newMessage());
    await eventually("new mail is sent", () => expectations.haveEnded());
    await worker.stop();
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
  },
);

withDisk(
  "SQLite on a disk turned read-only sends no more; the next start finds all mail",
  async (t, disk) => {
    const location = { kind: "sqlite", file: join(disk.path, "outbox.db") } as const;
    // As ext4 does by itself when it finds that it is damaged.
    const harness = await harnessWith(t, location, () => disk.remount("abort"));
    const { expectations, sink } = harness;
    const { worker, failed } = await startedWorker(harness);
    await eventually("the worker noticed", () => failed.length > 8);
    const refusal = await enqueueUntilRefused(harness);
    assert.match(refusal.code, /^ERR_OUTBOX_(STORE|IN_DOUBT)$/);
    assert.match(refusal.message, /disk I\/O error|readonly|read-only/);
    const sent = sink.mails.length;
    assert.ok(sent < 30, `${sent} were sent though no intent could be stored`);
    await worker.stop({ drainMs: 0, replyMs: 0 });
    await harness.store.close();

    disk.mountAgain();
    const store = await openStoreAt(location);
    expectations.useStore(store);
    const next = harness.worker({ store });
    next.start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await next.stop();
    const found = await expectations.check();
    await store.close();
    assert.ok(found.inDoubt > 0, "the mail that was being sent is in doubt");
    assert.equal(found.dead, 0);
  },
);

withDisk(
  "SQLite on a read-only disk is not opened; on a writable one it has all mail",
  async (_, disk) => {
    const location = { kind: "sqlite", file: join(disk.path, "outbox.db") } as const;
    const before = await openStoreAt(location);
    const message = newMessage();
    await before.enqueue([message]);
    await before.close();
    disk.remount("ro");
    await assert.rejects(openStoreAt(location), {
      code: "ERR_OUTBOX_STORE",
      message: /read-?only|unable to open/,
    });
    disk.remount("rw");
    const after = await openStoreAt(location);
    assert.ok(await after.get(message.id));
    await after.close();
  },
);

const found = postgresBinaries();

/** Registers a test that needs a disk of its own and a PostgreSQL. */
function withDiskAndPostgres(
  name: string,
  work: (t: TestContext, disk: SmallDisk, bin: string) => Promise<void>,
  megabytes?: number,
): void {
  withDisk(
    name,
    async (t, disk) => {
      if ("missing" in found) return t.skip(found.missing);
      // Only root can mount, and the server does not run as root.
      chmodSync(dirname(disk.path), 0o755);
      chmodSync(disk.path, 0o777);
      await work(t, disk, found.bin);
    },
    megabytes,
  );
}

async function migratedDatabase(server: Postgres, tablespace?: string) {
  const connectionString = await server.database("template1", tablespace);
  await (await openPostgresStore({ connectionString })).close();
  return { kind: "postgres", connectionString } as const;
}

withDiskAndPostgres(
  "PostgreSQL with tables on a full disk refuses new mail, and goes on with room",
  async (t, disk, bin) => {
    const ballast = join(disk.path, "ballast");
    const server = await Postgres.start(bin);
    atEnd(t, () => server.stop());
    const tables = join(disk.path, "tables");
    mkdirSync(tables, { mode: 0o700 });
    chownSync(tables, 65_534, 65_534);
    await server.sql(`create tablespace small location '${tables}'`);
    const location = await migratedDatabase(server, "small");
    const harness = await harnessWith(t, location, () => fill(ballast));
    const { expectations } = harness;
    const { worker, failed } = await startedWorker(harness);
    await eventually("the disk is full", () => existsSync(ballast));
    const refusal = await enqueueUntilRefused(harness);
    assert.equal(refusal.code, "ERR_OUTBOX_STORE");
    assert.match(refusal.message, /No space left on device/);
    // The log is on another disk, so writes go on that fit into the pages there are.
    await eventually("the worker noticed", () => failed.length > 3);

    rmSync(ballast);
    await eventually("every delivery has ended", () => expectations.haveEnded());
    await expectations.enqueue(newMessage());
    await eventually("new mail is sent", () => expectations.haveEnded());
    await worker.stop();
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
  },
);

withDiskAndPostgres(
  "PostgreSQL with its log on a full disk stops; with room it starts with all mail",
  async (t, disk, bin) => {
    const ballast = join(disk.path, "ballast");
    const settings = { max_wal_size: "4MB", min_wal_size: "2MB" };
    const server = await Postgres.start(bin, { parent: disk.path, walSegmentMb: 1, settings });
    atEnd(t, () => server.stop());
    const harness = await harnessWith(t, await migratedDatabase(server), () => fill(ballast));
    const { expectations } = harness;
    const { worker } = await startedWorker(harness);
    await eventually("the disk is full", () => existsSync(ballast));
    // Once the log cannot grow, each is refused or in doubt.
    let refused = 0;
    while (refused < 10) {
      await expectations.enqueue(...newMessages(20)).catch((error) => {
        assert.match(error.code, /^ERR_OUTBOX_(STORE|IN_DOUBT)$/);
        refused += 1;
      });
    }
    rmSync(ballast);
    await server.crash();
    await server.start();
    await eventually("every delivery has ended", () => expectations.haveEnded().catch(() => false));
    await worker.stop();
    const found = await expectations.check();
    assert.equal(found.dead, 0);
  },
  256,
);
