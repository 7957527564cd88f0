/**
 * Single schedules of delivery through the journal, each of which would lose, double or revive mail
 * without one particular guard, or leave a fault of the disk standing when it has passed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JournalDisk } from "../../src/delivery/journal-disk.ts";
import type { Operation } from "../support/sim-disk/disk.ts";
import { World } from "./journal-delivery-world.ts";
import { mailboxes, mailRoot } from "./mail-world.ts";

const [ann, bob] = mailboxes as [string, string];

/** Opens the post office, does something, and ends as if killed, or in good order. */
async function life(
  world: World,
  work: (disk: JournalDisk) => Promise<void>,
  end: "close" | "kill" = "close",
): Promise<void> {
  const process = world.disk.start();
  await world.untilEnd(process, async () => {
    const disk = await world.open(process, true);
    await work(disk!);
    if (end === "close") await disk!.close();
  });
  process.kill();
}

/** Delivers messages, notes what is acknowledged, and answers the errno of those that were not. */
async function send(
  world: World,
  disk: JournalDisk,
  maildirs: readonly string[],
): Promise<(string | undefined)[]> {
  const deliveries = maildirs.map((maildir) => world.delivery(maildir));
  const results = await disk.commit(deliveries);
  return results.map((result, position) => {
    world.ledger.answered(deliveries[position]!, result.ok ? result.id : undefined);
    return result.ok ? undefined : result.error.errno;
  });
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn += 1) {
    assert.ok(turn < 20_000, "it never came about");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const orphanEvents = (world: World) => world.events.filter(({ kind }) => kind === "orphaned");
/** Whether the last word about publishing was a good one. */
const isPublishing = (world: World) =>
  world.events.findLast((event) => event.kind === "publishing")?.reason === undefined;

const nothing = () => {};

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

test("a mail file system that is missing at recovery keeps its mail, and nothing is revived", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const world = new World({ seed });
    await world.live(3, "drop");
    const mail = world.disk.inodeAt(mailRoot)!;
    const elsewhere = world.disk.furnish(mailRoot, 9);
    await life(world, async (office) => {
      if (office.recovered.unavailable.length === 0) return; // Nothing was owed.
      assert.deepEqual(
        office.recovered.unavailable.map(({ home }) => home),
        [mailRoot],
      );
      assert.deepEqual(await send(world, office, [ann]), ["ENODEV"]);
      assert.equal(elsewhere.names.size, 0, "nothing is made in the wrong place");
      if (world.random.below(2)) return; // It stays away until the next start.
      world.disk.mountAt(mailRoot, mail);
      await until(() => office.recovered.unavailable.length === 0);
      assert.deepEqual(await send(world, office, [ann]), [undefined]);
    });
    world.disk.mountAt(mailRoot, mail);
    await world.recover();
    world.check();
    world.loseLife();
    await world.recover();
    world.check();
  }
});

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

test("a large body outlives a kill at any instant after its message was staged", async () => {
  for (let instant = 1; instant <= 40; instant += 1) {
    const world = new World({ seed: instant });
    await life(
      world,
      async (office) => {
        let delivery = world.delivery();
        while (delivery.body instanceof Uint8Array) delivery = world.delivery();
        const isStaged = ({ name, path }: Operation) => name === "close" && /,S=\d+$/.test(path);
        const matches = (operation: Operation) => {
          if (isStaged(operation)) world.disk.killAt = world.disk.instants + instant;
          return false;
        };
        world.disk.faults = [{ errno: "EIO", matches }];
        const [result] = await office.commit([delivery]);
        world.ledger.answered(delivery, result?.ok ? result.id : undefined);
        await until(() => office.pending === 0);
      },
      "kill",
    );
    await world.recover();
    world.check();
    assert.equal(world.ledger.acknowledged, 1);
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

test("a full log recovers: what it holds is published, and mail is taken again", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const world = new World({ seed, maxSegments: 3, maxBacklogBytes: 2 ** 30 });
    await life(
      world,
      async (office) => {
        world.disk.faults = [
          {
            errno: "EIO",
            matches: ({ name, path }) => name === "fdatasync" && path.includes(".postbag-"),
          },
        ];
        for (let batch = 0; batch < 60; batch += 1) {
          const answers = await send(world, office, Array(8).fill(ann));
          if (answers.includes("ENOSPC") || answers.includes("EIO")) break;
        }
      },
      "kill",
    );
    world.disk.faults = [];
    if (seed % 2) world.loseLife();
    await world.recover();
    world.check();
    await life(world, async (office) => {
      assert.deepEqual(await send(world, office, [ann]), [undefined]);
    });
  }
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

test("an older copy of the mail file system is not taken for one that readers have emptied", async () => {
  const world = new World({ seed: 9 });
  await life(world, async (office) => {
    await send(world, office, [ann]);
  });
  world.loseLife();
  const older = world.disk.afterCut().root.names.get("mail")!;
  await life(world, (office) => send(world, office, [ann, bob]).then(nothing), "kill");
  world.loseLife();
  const current = world.disk.root.names.get("mail")!;
  world.disk.mountAt(mailRoot, older);
  await life(world, async (office) => {
    assert.equal(office.recovered.unavailable.length, 1);
    assert.match(office.recovered.unavailable[0]!.reason, /restored from a copy/);
  });
  world.disk.mountAt(mailRoot, current);
  await world.recover();
  world.check();
});

function intoMailbox(mailbox: string) {
  return ({ name, path }: { readonly name: string; readonly path: string }) =>
    name === "rename" && path.includes(`-> ${mailbox}/new/`);
}
