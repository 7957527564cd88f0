/**
 * Single schedules of publishing on the simulated disk. Each would, without one particular guard,
 * lose, double or revive mail, or leave publishing stopped after the disk works again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../support/sim-disk/disk.ts";
import { mailboxes } from "../mail-setup.ts";
import { intoMailbox, runProcess, send, until } from "./case-steps.ts";
import { DeliveryHarness, stagingOn } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const orphanEvents = (harness: DeliveryHarness) =>
  harness.events.filter(({ kind }) => kind === "orphaned");
/** Whether the last `publishing` event has no reason: the volume takes mail again. */
const isPublishing = (harness: DeliveryHarness) =>
  harness.events.findLast((event) => event.kind === "publishing")?.reason === undefined;

for (const bulk of [false, true]) {
  test(`staged data lost in write-back is staged again, ${bulk ? "bulk" : "file"} flushes`, async () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const harness = new DeliveryHarness({ seed, bulk });
      const { disk } = harness;
      await runProcess(harness, async (committer) => {
        // After so many files the kernel writes a file back by itself, and the write fails.
        let closed = 0;
        const failAfter = 1 + harness.random.below(12);
        const isStaged = ({ name, path }: Operation) => name === "close" && path.includes(",S=");
        const matches = (operation: Operation) => {
          if (isStaged(operation) && ++closed === failAfter) disk.failWriteBack();
          return false;
        };
        disk.faults = [{ errno: "EIO", matches }];
        await send(harness, committer, Array(12).fill(ann));
        await until(() => committer.pending === 0);
        disk.faults = [];
      });
      harness.cutPower();
      await harness.recover();
      harness.check();
    }
  });
}

for (const errno of ["EXDEV", "EACCES", "EDQUOT", "EROFS", "ENOSPC"]) {
  test(`${errno} on rename delays mail of that mailbox only, until the error ends`, async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const harness = new DeliveryHarness({ seed });
      await runProcess(harness, async (committer) => {
        const refused = { errno, matches: intoMailbox(bob) };
        harness.disk.faults = [refused];
        assert.deepEqual(
          await send(harness, committer, [ann, bob, ann, bob]),
          Array(4).fill(undefined),
        );
        await until(() => harness.expectations.settledCount === 2);
        assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
        await until(() => harness.expectations.settledCount === 3);
        harness.disk.faults = [];
        await until(() => harness.expectations.settledCount === 5);
      });
      assert.deepEqual(orphanEvents(harness), []);
      harness.check();
      harness.cutPower();
      await harness.recover();
      harness.check();
    }
  });

  test(`${errno} on every retry moves a message to orphans/, where it survives a cut`, async () => {
    const harness = new DeliveryHarness({ seed: 5 });
    await runProcess(harness, async (committer) => {
      harness.disk.faults = [{ errno, matches: intoMailbox(bob) }];
      await send(harness, committer, [ann, bob]);
      await until(() => harness.expectations.orphaned === 1);
      harness.disk.faults = [];
    });
    assert.equal(orphanEvents(harness).length, 1);
    harness.cutPower();
    await harness.recover();
    harness.check();
  });
}

test("messages logged again survive a kill and a cut at any later instant", async () => {
  for (let instant = 1; instant <= 120; instant += 1) {
    const harness = new DeliveryHarness({ seed: instant });
    await runProcess(
      harness,
      async (committer) => {
        harness.disk.faults = [{ errno: "EACCES", matches: intoMailbox(bob) }];
        await send(harness, committer, [ann, bob]);
        if (instant % 4 < 2) {
          // Meanwhile later mail is published, and the marks rise.
          await until(() => harness.expectations.settledCount === 1);
          await send(harness, committer, [ann]);
        }
        if (instant % 2) harness.disk.killAt = harness.disk.instants + instant;
        else harness.disk.cutAt = harness.disk.instants + instant;
        for (let turn = 0; turn < 400; turn += 1) await new Promise((go) => setImmediate(go));
      },
      "kill",
    );
    harness.disk.faults = [];
    if (instant % 2 === 0 || instant % 3 === 0) harness.cutPower();
    await harness.recover();
    harness.check();
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
});

test("a removed mailbox is not created again; its mail goes to orphans/ at once", async () => {
  const harness = new DeliveryHarness({ seed: 1 });
  await runProcess(harness, async (committer) => {
    await send(harness, committer, [bob]);
    await until(() => harness.expectations.settledCount === 1);
    harness.disk.faults = [
      { errno: "ENOENT", matches: ({ name, path }) => name === "open" && path === `${bob}/new` },
    ];
    await send(harness, committer, [ann]);
    await until(() => harness.expectations.settledCount === 2);
  });
  const other = new DeliveryHarness({ seed: 2 });
  await runProcess(other, async (committer) => {
    const sent = send(other, committer, [bob]);
    const removed = other.disk.root.names.get("mail")!;
    await sent;
    removed.names.get("a.example")!.names.delete("bob");
    await until(() => other.expectations.orphaned === 1);
    assert.equal(removed.names.get("a.example")!.names.has("bob"), false);
  });
});

test("names whose flush failed are made again, by publishing from the log", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const harness = new DeliveryHarness({ seed, directoriesForget: true });
    await runProcess(harness, async (committer) => {
      await send(harness, committer, [ann]);
      await until(() => harness.expectations.settledCount === 1);
      let failures = 0;
      harness.disk.faults = [
        {
          errno: "EIO",
          matches: ({ name, path }) =>
            name === "fsync" && path === `${bob}/new` && ++failures === 2,
        },
      ];
      await send(harness, committer, [bob, bob, ann]);
      await until(() => harness.expectations.settledCount === 4);
    });
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
});

test("a disk full during staging refuses new mail with ENOSPC until it has room", async () => {
  const harness = new DeliveryHarness({ seed: 3 });
  await runProcess(harness, async (committer) => {
    await send(harness, committer, [ann]);
    await until(() => harness.expectations.settledCount === 1);
    harness.disk.faults = [
      {
        errno: "ENOSPC",
        matches: ({ name, path }) => name === "write" && path.includes(".postbag-"),
      },
    ];
    assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
    await until(() => harness.events.some(({ kind }) => kind === "publishing"));
    assert.deepEqual(await send(harness, committer, [ann]), ["ENOSPC"]);
    harness.disk.faults = [];
    await until(() => harness.expectations.settledCount === 2 && isPublishing(harness));
    assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
  });
  harness.check();
});

test("without free blocks or inodes mail is refused before it is in the log", async () => {
  const harness = new DeliveryHarness({ seed: 4 });
  await runProcess(harness, async (committer) => {
    harness.disk.space = { bytes: 1024 * 1024, files: 1000 };
    assert.deepEqual(await send(harness, committer, [ann]), ["ENOSPC"]);
    harness.disk.space = { bytes: 2 ** 40, files: 3 };
    assert.deepEqual(await send(harness, committer, [ann]), ["ENOSPC"]);
    harness.disk.space = { bytes: 2 ** 40, files: undefined };
    assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
  });
  harness.check();
});

test("a backlog at its bound refuses new mail with ENOSPC", async () => {
  const harness = new DeliveryHarness({ seed: 6 });
  await runProcess(harness, async (committer) => {
    harness.disk.faults = [{ errno: "EACCES", matches: intoMailbox(bob) }];
    const answers: (string | undefined)[] = [];
    for (let batch = 0; batch < 12; batch += 1) {
      answers.push(...(await send(harness, committer, [bob, bob, bob])));
    }
    assert.ok(answers.includes("ENOSPC"));
    assert.ok(answers.includes(undefined));
    harness.disk.faults = [];
    await until(() => committer.pending === 0);
  });
  harness.check();
});

test("while journal writes fail mail is refused with EIO and accepting is false", async () => {
  const harness = new DeliveryHarness({ seed: 8 });
  await runProcess(harness, async (committer) => {
    assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
    harness.disk.faults = [{ errno: "EIO", matches: ({ name }) => name === "pwrite" }];
    assert.deepEqual(await send(harness, committer, [bob]), ["EIO"]);
    assert.equal(committer.accepting, false);
    harness.disk.faults = [];
    await until(() => committer.accepting);
    assert.deepEqual(await send(harness, committer, [bob]), [undefined]);
    const reported = harness.events.flatMap((event) =>
      event.kind === "accepting" ? [event.accepting] : [],
    );
    assert.deepEqual(reported, [false, true]);
  });
  harness.check();
  harness.cutPower();
  await harness.recover();
  harness.check();
});

test("a mailbox moved to another file system delays no other; its mail waits for it", async () => {
  for (const comesBack of [true, false]) {
    const harness = new DeliveryHarness({ seed: 11 });
    const own = () => harness.disk.inodeAt(bob)!;
    let mailbox: ReturnType<typeof own> | undefined;
    await runProcess(harness, async (committer) => {
      await send(harness, committer, [bob]);
      await until(() => harness.expectations.settledCount === 1);
      const matches = ({ name, path }: Operation) => {
        if (mailbox || name !== "open" || path !== `${bob}/new`) return false;
        mailbox = own();
        harness.disk.furnish(bob, 2);
        for (const part of ["new", "cur", "tmp"]) harness.disk.furnish(`${bob}/${part}`);
        return false;
      };
      harness.disk.faults = [{ errno: "EIO", matches }];
      assert.deepEqual(await send(harness, committer, [bob, ann]), [undefined, undefined]);
      await until(() => harness.expectations.settledCount === 2);
      assert.equal(own().names.get("new")!.names.size, 0, "no file was copied across");
      if (comesBack) harness.disk.mountAt(bob, mailbox!);
      await until(
        () => harness.expectations.settledCount === 3 || harness.expectations.orphaned === 1,
      );
    });
    harness.disk.mountAt(bob, mailbox!);
    assert.equal(harness.expectations.orphaned, comesBack ? 0 : 1);
    harness.check();
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
});

test("a mailbox in its own quota tree has its mail when the mail is acknowledged", async () => {
  const harness = new DeliveryHarness({ seed: 12 });
  harness.disk.furnish("/mail/a.example");
  harness.disk.furnish(bob).tree = 7;
  await runProcess(harness, async (committer) => {
    assert.deepEqual(await send(harness, committer, [bob, ann, bob]), Array(3).fill(undefined));
    assert.equal(harness.disk.inodeAt(`${bob}/new`)!.names.size, 2);
    await until(() => committer.pending === 0);
  });
  assert.deepEqual(orphanEvents(harness), []);
  harness.cutPower();
  await harness.recover();
  harness.check();
});

test("a volume that cannot be flushed delays nothing on another volume", async () => {
  for (const bulk of [false, true]) {
    const harness = new DeliveryHarness({ seed: 13, bulk, secondFileSystem: true });
    await runProcess(harness, async (committer) => {
      assert.deepEqual(await send(harness, committer, [ann, cid]), [undefined, undefined]);
      await until(() => harness.expectations.settledCount === 2);
      assert.equal(stagingOn(harness.disk).length, 2);
      const matches = ({ name, path }: Operation) =>
        name.endsWith("sync") && path.startsWith("/mail/b.example/.postbag-");
      harness.disk.faults = [{ errno: "EIO", matches }];
      assert.deepEqual(await send(harness, committer, [ann, cid]), [undefined, undefined]);
      await until(() => harness.expectations.settledCount === 3 && !isPublishing(harness));
      assert.deepEqual(await send(harness, committer, [ann, cid]), [undefined, "EIO"]);
      await until(() => harness.expectations.settledCount === 4);
      harness.disk.faults = [];
      await until(() => harness.expectations.settledCount === 5 && isPublishing(harness));
      assert.deepEqual(await send(harness, committer, [cid]), [undefined]);
    });
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
});

test("every mailbox gets its mail in the order of the log, from recovery too", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const harness = new DeliveryHarness({ seed });
    const isRename = /^\d+ rename .* -> (\/mail\/.*)\/(?:new|cur)\/.*Q(\d+)\./;
    await runProcess(
      harness,
      async (committer) => {
        const batches = [1, 2, 3].map(() => send(harness, committer, [ann, bob, ann]));
        if (seed % 2) await Promise.all(batches);
        else await until(() => harness.expectations.acknowledged > 3);
      },
      "kill",
    );
    await harness.recover();
    const renames = harness.disk.trace.flatMap((line) => {
      const [, mailbox, counter] = isRename.exec(line) ?? [];
      return mailbox ? [{ mailbox, counter: Number(counter) }] : [];
    });
    assert.ok(renames.length >= harness.expectations.acknowledged);
    for (const [mailbox, own] of Map.groupBy(renames, (one) => one.mailbox)) {
      const counters = own.map(({ counter }) => counter);
      assert.deepEqual(
        counters,
        counters.toSorted((a, b) => a - b),
        mailbox,
      );
    }
  }
});

test("after the sync helper dies during a flush all its files are staged again", async () => {
  const harness = new DeliveryHarness({
    seed: 14,
    bulk: true,
    withoutSyncGuard: (helper) => {
      let isDead = false;
      return {
        sync: async () => {
          isDead = true;
          throw new Error("the helper has ended");
        },
        get usable() {
          return !isDead;
        },
        close: () => helper.close(),
      };
    },
  });
  await runProcess(harness, async (committer) => {
    assert.deepEqual(
      await send(harness, committer, Array(12).fill(ann)),
      Array(12).fill(undefined),
    );
    await until(() => committer.pending === 0);
  });
  assert.equal(harness.expectations.settledCount, 12);
  harness.cutPower();
  await harness.recover();
  harness.check();
});
