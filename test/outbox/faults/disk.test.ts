/**
 * A disk under the outbox that is full or read-only: what cannot be stored is refused, with the reason
 * and nothing of it left behind; what was sent meanwhile stays known, and work goes on as soon as it can.
 */
import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  type OutboxError,
  openPostgresStore,
  type WorkerEvent,
} from "../../../src/outbox/index.ts";
import { atEnd, temporaryFolder } from "../../process/support/postbag.ts";
import { fill, mountSmallDisk, type SmallDisk, whyNoDisk } from "../../slow/root/small-disk.ts";
import { Postgres, postgresBinaries } from "../../support/postgres.ts";
import { become, faultLab, type Lab } from "./support/fault-harness.ts";
import { letter, letters } from "./support/outbox-expectations.ts";
import { openStoreAt } from "./support/place.ts";

/** Registers a test that needs a disk of its own. */
function withDisk(
  name: string,
  work: (t: TestContext, disk: SmallDisk) => Promise<void>,
  megabytes = 48,
): void {
  test(name, async (t) => {
    const why = whyNoDisk();
    if (why !== undefined) return t.skip(why);
    await work(t, mountSmallDisk(t, temporaryFolder(t), { megabytes }));
  });
}

/** Enqueues until it is refused; gives the refusal. */
async function enqueueUntilRefused({ ledger }: Lab): Promise<OutboxError> {
  for (let tries = 0; tries < 10_000; tries += 1) {
    try {
      await ledger.enqueue(letter());
    } catch (error) {
      return error as OutboxError;
    }
  }
  return assert.fail("the disk was never full");
}

withDisk(
  "SQLite on a full disk refuses what is new, forgets nothing, and goes on when there is room",
  async (t, disk) => {
    const ballast = join(disk.path, "ballast");
    const failures: Extract<WorkerEvent, { kind: "store-failed" }>[] = [];
    const lab = await faultLab(t, {
      place: { kind: "sqlite", file: join(disk.path, "outbox.db") },
      sink: {
        answer: ({ verb, nth }) => {
          // Full from the instant at which a mail is taken on.
          if (verb === "dot" && nth === 20) fill(ballast);
          return undefined;
        },
      },
    });
    const worker = lab.worker({
      concurrency: 4,
      onEvent: (event) => {
        if (event.kind === "store-failed") failures.push(event);
      },
    });
    const count = (doing: string) => failures.filter((failure) => failure.doing === doing).length;
    await lab.ledger.enqueue(...letters(60));
    worker.start();
    await become("outcomes were refused", () => count("complete") > 0);

    const refusal = await enqueueUntilRefused(lab);
    assert.equal(refusal.code, "ERR_OUTBOX_STORE");
    assert.match(refusal.message, /full/);
    const many = await Promise.allSettled(letters(20).map((one) => lab.ledger.enqueue(one)));
    assert.ok(many.every(({ status }) => status === "rejected"));
    assert.equal(await lab.ledger.isOver(), false, "what is there can still be read");
    await become("every lease has run out", () => count("renew") > 8);
    assert.ok(lab.sink.mails.length < 60, "nothing is sent whose outcome could not be kept");

    rmSync(ballast);
    await become("everything has ended", () => lab.ledger.isOver());
    await lab.ledger.enqueue(letter());
    await become("new mail is sent", () => lab.ledger.isOver());
    await worker.stop();
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
  },
);

withDisk(
  "SQLite on a disk that turns read-only sends no more, and the next start finds everything",
  async (t, disk) => {
    const place = { kind: "sqlite", file: join(disk.path, "outbox.db") } as const;
    const lab = await faultLab(t, {
      place,
      sink: {
        answer: ({ verb, nth }) => {
          // As ext4 does by itself when it finds that it is damaged.
          if (verb === "dot" && nth === 20) disk.remount("abort");
          return undefined;
        },
      },
    });
    let failures = 0;
    const worker = lab.worker({
      concurrency: 4,
      onEvent: ({ kind }) => {
        if (kind === "store-failed") failures += 1;
      },
    });
    await lab.ledger.enqueue(...letters(60));
    worker.start();
    await become("the worker noticed", () => failures > 8);
    const refusal = await enqueueUntilRefused(lab);
    assert.match(refusal.code, /^ERR_OUTBOX_(STORE|IN_DOUBT)$/);
    assert.match(refusal.message, /disk I\/O error|readonly|read-only/);
    const sent = lab.sink.mails.length;
    assert.ok(sent < 30, `${sent} were sent though no intent could be kept`);
    await worker.stop({ drainMs: 0, replyMs: 0 });
    await lab.store.close();

    disk.mountAgain();
    const store = await openStoreAt(place);
    lab.ledger.continueOn(store);
    const next = lab.worker({ store });
    next.start();
    await become("everything has ended", () => lab.ledger.isOver());
    await next.stop();
    const found = await lab.ledger.check();
    await store.close();
    assert.ok(found.inDoubt > 0, "the mail at hand is in doubt");
    assert.equal(found.dead, 0);
  },
);

withDisk(
  "SQLite on a read-only disk is not opened, with the reason; later it is, with all there was",
  async (_, disk) => {
    const place = { kind: "sqlite", file: join(disk.path, "outbox.db") } as const;
    const before = await openStoreAt(place);
    const message = letter();
    await before.enqueue([message]);
    await before.close();
    disk.remount("ro");
    await assert.rejects(openStoreAt(place), {
      code: "ERR_OUTBOX_STORE",
      message: /read-?only|unable to open/,
    });
    disk.remount("rw");
    const after = await openStoreAt(place);
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

async function opened(server: Postgres, tablespace?: string) {
  const connectionString = await server.database("template1", tablespace);
  await (await openPostgresStore({ connectionString })).close();
  return { kind: "postgres", connectionString } as const;
}

withDiskAndPostgres(
  "PostgreSQL whose tables are on a full disk refuses what is new, and goes on when there is room",
  async (t, disk, bin) => {
    const ballast = join(disk.path, "ballast");
    const server = await Postgres.start(bin);
    atEnd(t, () => server.stop());
    const tables = join(disk.path, "tables");
    mkdirSync(tables, { mode: 0o700 });
    chownSync(tables, 65_534, 65_534);
    await server.sql(`create tablespace small location '${tables}'`);
    const lab = await faultLab(t, {
      place: await opened(server, "small"),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "dot" && nth === 20) fill(ballast);
          return undefined;
        },
      },
    });
    let failures = 0;
    const worker = lab.worker({
      concurrency: 4,
      onEvent: ({ kind }) => {
        if (kind === "store-failed") failures += 1;
      },
    });
    await lab.ledger.enqueue(...letters(60));
    worker.start();
    await become("the disk is full", () => existsSync(ballast));
    const refusal = await enqueueUntilRefused(lab);
    assert.equal(refusal.code, "ERR_OUTBOX_STORE");
    assert.match(refusal.message, /No space left on device/);
    // The log is elsewhere: what fits into the pages there are goes on.
    await become("the worker noticed", () => failures > 3);

    rmSync(ballast);
    await become("everything has ended", () => lab.ledger.isOver());
    await lab.ledger.enqueue(letter());
    await become("new mail is sent", () => lab.ledger.isOver());
    await worker.stop();
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
  },
);

withDiskAndPostgres(
  "PostgreSQL whose log is on a full disk stops; started again with room, it has all that was acknowledged",
  async (t, disk, bin) => {
    const ballast = join(disk.path, "ballast");
    const settings = { max_wal_size: "4MB", min_wal_size: "2MB" };
    const server = await Postgres.start(bin, { parent: disk.path, walSegmentMb: 1, settings });
    atEnd(t, () => server.stop());
    const lab = await faultLab(t, {
      place: await opened(server),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "dot" && nth === 20) fill(ballast);
          return undefined;
        },
      },
    });
    const worker = lab.worker({ concurrency: 4 });
    await lab.ledger.enqueue(...letters(60));
    worker.start();
    await become("the disk is full", () => existsSync(ballast));
    // Each is refused, or in doubt, once the log cannot grow.
    let refused = 0;
    while (refused < 10) {
      await lab.ledger.enqueue(...letters(20)).catch((error) => {
        assert.match(error.code, /^ERR_OUTBOX_(STORE|IN_DOUBT)$/);
        refused += 1;
      });
    }
    rmSync(ballast);
    await server.crash();
    await server.start();
    await become("everything has ended", () => lab.ledger.isOver().catch(() => false));
    await worker.stop();
    const found = await lab.ledger.check();
    assert.equal(found.dead, 0);
  },
  256,
);
