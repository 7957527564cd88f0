/**
 * Single schedules of delivery through the journal, each of which would lose, double or revive mail
 * without one particular guard, or leave a fault of the disk standing when it has passed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../support/sim-disk/disk.ts";
import { mailboxes } from "../mail-setup.ts";
import { intoMailbox, life, send, until } from "./case-steps.ts";
import { stagingOn, World } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const orphanEvents = (world: World) => world.events.filter(({ kind }) => kind === "orphaned");
/** Whether the last word about publishing was a good one. */
const isPublishing = (world: World) =>
  world.events.findLast((event) => event.kind === "publishing")?.reason === undefined;

for (const bulk of [false, true]) {
  test(`staged data lost in the write-back is staged again, ${bulk ? "bulk" : "each"}`, async () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const world = new World({ seed, bulk });
      const { disk } = world;
      await life(world, async (office) => {
        // The kernel writes one of them back by itself as soon as so many are written, and fails.
        let closed = 0;
        const failAfter = 1 + world.random.below(12);
        const isStaged = ({ name, path }: Operation) => name === "close" && path.includes(",S=");
        const matches = (operation: Operation) => {
          if (isStaged(operation) && ++closed === failAfter) disk.failWriteBack();
          return false;
        };
        disk.faults = [{ errno: "EIO", matches }];
        await send(world, office, Array(12).fill(ann));
        await until(() => office.pending === 0);
        disk.faults = [];
      });
      world.loseLife();
      await world.recover();
      world.check();
    }
  });
}

for (const errno of ["EXDEV", "EACCES", "EDQUOT", "EROFS", "ENOSPC"]) {
  test(`${errno} when publishing: the rest goes on, and it is published when that is over`, async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const world = new World({ seed });
      await life(world, async (office) => {
        const refused = { errno, matches: intoMailbox(bob) };
        world.disk.faults = [refused];
        assert.deepEqual(await send(world, office, [ann, bob, ann, bob]), Array(4).fill(undefined));
        await until(() => world.ledger.settledCount === 2);
        assert.deepEqual(await send(world, office, [ann]), [undefined]);
        await until(() => world.ledger.settledCount === 3);
        world.disk.faults = [];
        await until(() => world.ledger.settledCount === 5);
      });
      assert.deepEqual(orphanEvents(world), []);
      world.check();
      world.loseLife();
      await world.recover();
      world.check();
    }
  });

  test(`${errno} for ever: kept in orphans/ in the end, through kills and cuts`, async () => {
    const world = new World({ seed: 5 });
    await life(world, async (office) => {
      world.disk.faults = [{ errno, matches: intoMailbox(bob) }];
      await send(world, office, [ann, bob]);
      await until(() => world.ledger.orphaned === 1);
      world.disk.faults = [];
    });
    assert.equal(orphanEvents(world).length, 1);
    world.loseLife();
    await world.recover();
    world.check();
  });
}

test("messages logged again survive a kill and a cut at any later instant", async () => {
  for (let instant = 1; instant <= 120; instant += 1) {
    const world = new World({ seed: instant });
    await life(
      world,
      async (office) => {
        world.disk.faults = [{ errno: "EACCES", matches: intoMailbox(bob) }];
        await send(world, office, [ann, bob]);
        if (instant % 4 < 2) {
          // Later mail is published meanwhile, and the marks go on.
          await until(() => world.ledger.settledCount === 1);
          await send(world, office, [ann]);
        }
        if (instant % 2) world.disk.killAt = world.disk.instants + instant;
        else world.disk.cutAt = world.disk.instants + instant;
        for (let turn = 0; turn < 400; turn += 1) await new Promise((go) => setImmediate(go));
      },
      "kill",
    );
    world.disk.faults = [];
    if (instant % 2 === 0 || instant % 3 === 0) world.loseLife();
    await world.recover();
    world.check();
    world.loseLife();
    await world.recover();
    world.check();
  }
});

test("a mailbox that is gone is not made again: its mail is kept in orphans/ at once", async () => {
  const world = new World({ seed: 1 });
  await life(world, async (office) => {
    await send(world, office, [bob]);
    await until(() => world.ledger.settledCount === 1);
    world.disk.faults = [
      { errno: "ENOENT", matches: ({ name, path }) => name === "open" && path === `${bob}/new` },
    ];
    await send(world, office, [ann]);
    await until(() => world.ledger.settledCount === 2);
  });
  const other = new World({ seed: 2 });
  await life(other, async (office) => {
    const sent = send(other, office, [bob]);
    const removed = other.disk.root.names.get("mail")!;
    await sent;
    removed.names.get("a.example")!.names.delete("bob");
    await until(() => other.ledger.orphaned === 1);
    assert.equal(removed.names.get("a.example")!.names.has("bob"), false);
  });
});

test("names the disk did not keep are published again from the log", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const world = new World({ seed, directoriesForget: true });
    await life(world, async (office) => {
      await send(world, office, [ann]);
      await until(() => world.ledger.settledCount === 1);
      let failures = 0;
      world.disk.faults = [
        {
          errno: "EIO",
          matches: ({ name, path }) =>
            name === "fsync" && path === `${bob}/new` && ++failures === 2,
        },
      ];
      await send(world, office, [bob, bob, ann]);
      await until(() => world.ledger.settledCount === 4);
    });
    world.loseLife();
    await world.recover();
    world.check();
  }
});

test("a disk that is full while staging refuses new mail with ENOSPC, and serves again by itself", async () => {
  const world = new World({ seed: 3 });
  await life(world, async (office) => {
    await send(world, office, [ann]);
    await until(() => world.ledger.settledCount === 1);
    world.disk.faults = [
      {
        errno: "ENOSPC",
        matches: ({ name, path }) => name === "write" && path.includes(".postbag-"),
      },
    ];
    assert.deepEqual(await send(world, office, [ann]), [undefined]);
    await until(() => world.events.some(({ kind }) => kind === "publishing"));
    assert.deepEqual(await send(world, office, [ann]), ["ENOSPC"]);
    world.disk.faults = [];
    await until(() => world.ledger.settledCount === 2 && isPublishing(world));
    assert.deepEqual(await send(world, office, [ann]), [undefined]);
  });
  world.check();
});

test("no free blocks, or no free inodes, refuse before the log has the message", async () => {
  const world = new World({ seed: 4 });
  await life(world, async (office) => {
    world.disk.space = { bytes: 1024 * 1024, files: 1000 };
    assert.deepEqual(await send(world, office, [ann]), ["ENOSPC"]);
    world.disk.space = { bytes: 2 ** 40, files: 3 };
    assert.deepEqual(await send(world, office, [ann]), ["ENOSPC"]);
    world.disk.space = { bytes: 2 ** 40, files: undefined };
    assert.deepEqual(await send(world, office, [ann]), [undefined]);
  });
  world.check();
});

test("a backlog that does not get smaller refuses new mail before memory runs out", async () => {
  const world = new World({ seed: 6 });
  await life(world, async (office) => {
    world.disk.faults = [{ errno: "EACCES", matches: intoMailbox(bob) }];
    const answers: (string | undefined)[] = [];
    for (let batch = 0; batch < 12; batch += 1) {
      answers.push(...(await send(world, office, [bob, bob, bob])));
    }
    assert.ok(answers.includes("ENOSPC"));
    assert.ok(answers.includes(undefined));
    world.disk.faults = [];
    await until(() => office.pending === 0);
  });
  world.check();
});

test("a log whose disk refuses writes refuses mail with EIO and says so, until it works again", async () => {
  const world = new World({ seed: 8 });
  await life(world, async (office) => {
    assert.deepEqual(await send(world, office, [ann]), [undefined]);
    world.disk.faults = [{ errno: "EIO", matches: ({ name }) => name === "pwrite" }];
    assert.deepEqual(await send(world, office, [bob]), ["EIO"]);
    assert.equal(office.accepting, false);
    world.disk.faults = [];
    await until(() => office.accepting);
    assert.deepEqual(await send(world, office, [bob]), [undefined]);
  });
  world.check();
  world.loseLife();
  await world.recover();
  world.check();
});

test("a mailbox on another file system by now: EXDEV holds up nobody, and its mail waits for it", async () => {
  for (const comesBack of [true, false]) {
    const world = new World({ seed: 11 });
    const own = () => world.disk.inodeAt(bob)!;
    let mailbox: ReturnType<typeof own> | undefined;
    await life(world, async (office) => {
      await send(world, office, [bob]);
      await until(() => world.ledger.settledCount === 1);
      const matches = ({ name, path }: Operation) => {
        if (mailbox || name !== "open" || path !== `${bob}/new`) return false;
        mailbox = own();
        world.disk.furnish(bob, 2);
        for (const part of ["new", "cur", "tmp"]) world.disk.furnish(`${bob}/${part}`);
        return false;
      };
      world.disk.faults = [{ errno: "EIO", matches }];
      assert.deepEqual(await send(world, office, [bob, ann]), [undefined, undefined]);
      await until(() => world.ledger.settledCount === 2);
      assert.equal(own().names.get("new")!.names.size, 0, "no file was copied across");
      if (comesBack) world.disk.mountAt(bob, mailbox!);
      await until(() => world.ledger.settledCount === 3 || world.ledger.orphaned === 1);
    });
    world.disk.mountAt(bob, mailbox!);
    assert.equal(world.ledger.orphaned, comesBack ? 0 : 1);
    world.check();
    world.loseLife();
    await world.recover();
    world.check();
  }
});

test("a mailbox in a quota tree of its own, on the same device, has its mail when it is acknowledged", async () => {
  const world = new World({ seed: 12 });
  world.disk.furnish("/mail/a.example");
  world.disk.furnish(bob).tree = 7;
  await life(world, async (office) => {
    assert.deepEqual(await send(world, office, [bob, ann, bob]), Array(3).fill(undefined));
    assert.equal(world.disk.inodeAt(`${bob}/new`)!.names.size, 2);
    await until(() => office.pending === 0);
  });
  assert.deepEqual(orphanEvents(world), []);
  world.loseLife();
  await world.recover();
  world.check();
});

test("two mail file systems: one that cannot be flushed stops nothing on the other", async () => {
  for (const bulk of [false, true]) {
    const world = new World({ seed: 13, bulk, secondFileSystem: true });
    await life(world, async (office) => {
      assert.deepEqual(await send(world, office, [ann, cid]), [undefined, undefined]);
      await until(() => world.ledger.settledCount === 2);
      assert.equal(stagingOn(world.disk).length, 2);
      const matches = ({ name, path }: Operation) =>
        name.endsWith("sync") && path.startsWith("/mail/b.example/.postbag-");
      world.disk.faults = [{ errno: "EIO", matches }];
      assert.deepEqual(await send(world, office, [ann, cid]), [undefined, undefined]);
      await until(() => world.ledger.settledCount === 3 && !isPublishing(world));
      assert.deepEqual(await send(world, office, [ann, cid]), [undefined, "EIO"]);
      await until(() => world.ledger.settledCount === 4);
      world.disk.faults = [];
      await until(() => world.ledger.settledCount === 5 && isPublishing(world));
      assert.deepEqual(await send(world, office, [cid]), [undefined]);
    });
    world.loseLife();
    await world.recover();
    world.check();
  }
});

test("every mailbox gets its mail in the order of the log, also from recovery", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const world = new World({ seed });
    const isRename = /^\d+ rename .* -> (\/mail\/.*)\/(?:new|cur)\/.*Q(\d+)\./;
    await life(
      world,
      async (office) => {
        const batches = [1, 2, 3].map(() => send(world, office, [ann, bob, ann]));
        if (seed % 2) await Promise.all(batches);
        else await until(() => world.ledger.acknowledged > 3);
      },
      "kill",
    );
    await world.recover();
    const renames = world.disk.trace.flatMap((line) => {
      const [, mailbox, counter] = isRename.exec(line) ?? [];
      return mailbox ? [{ mailbox, counter: Number(counter) }] : [];
    });
    assert.ok(renames.length >= world.ledger.acknowledged);
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

test("a helper that dies while it flushes vouches for nothing: all of it is staged again", async () => {
  const world = new World({
    seed: 14,
    bulk: true,
    spoilSync: (helper) => {
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
  await life(world, async (office) => {
    assert.deepEqual(await send(world, office, Array(12).fill(ann)), Array(12).fill(undefined));
    await until(() => office.pending === 0);
  });
  assert.equal(world.ledger.settledCount, 12);
  world.loseLife();
  await world.recover();
  world.check();
});
